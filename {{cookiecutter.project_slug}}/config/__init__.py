"""What a deployment may change."""
