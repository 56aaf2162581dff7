"""Django's backend for MySQL and MariaDB, with its connections from a pool of the process."""
