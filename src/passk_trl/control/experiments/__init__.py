"""Controllers that were tried beside [`~passk_trl.control.Guard`], `Mix` and `Governor`, and two baselines."""
