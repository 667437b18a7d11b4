"""What all commands share: their options, their help, their errors."""
