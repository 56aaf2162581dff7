"""What a request passes, one middleware a file; their order is `MIDDLEWARE` in the settings."""
