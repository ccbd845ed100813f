"""What only an engine knows: ranks, sharded parameters, DDP, FSDP2 and ZeRO."""
