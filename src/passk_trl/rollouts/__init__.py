"""From a trainer to scored rollouts, with training left as it was found."""
