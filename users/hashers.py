"""How passwords are stored."""

from django.contrib.auth import hashers


class Argon2idHasher(hashers.Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane.

    These are the parameters that the OWASP Password Storage Cheat Sheet recommends. Django's
    own, 100 MiB in eight lanes, would let a few simultaneous log-ins take more memory than the
    rest of the service.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1
