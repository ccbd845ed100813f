"""What depends on the engine that holds the model: ranks, and parameters sharded by FSDP2 or ZeRO-3."""
