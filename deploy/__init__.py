"""What the platform is run with, apart from the platform itself."""
