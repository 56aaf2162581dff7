"""The naive limiter: a list of admitted moments for each key, searched from end to end."""

from dataclasses import dataclass, field

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Step:
    """One request of `key`, `after_s` whole seconds after the one before."""

    key: str
    after_s: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What the naive limiter says."""

    allowed: bool
    remaining: int
    frees_in_s: float
    retry_after_s: float


def steps(*, max_size: int) -> st.SearchStrategy[list[Step]]:
    """Histories for a window of 100 s: mostly crowded, with some pauses, also exact ones."""
    pauses = st.sampled_from([0, 0, 0, 1, 7, 50, 99, 100, 101])
    return st.lists(st.builds(Step, key=st.sampled_from("ab"), after_s=pauses), max_size=max_size)


@dataclass
class Model:
    """Decides as the definition says: fewer than `limit` in the last `window_s`."""

    limit: int
    window_s: float
    admitted: list[tuple[str, float]] = field(default_factory=list)

    def decide(self, key: str, now_s: float) -> Expected:
        counted = [at for who, at in self.admitted if who == key and at > now_s - self.window_s]
        allowed = len(counted) < self.limit
        if allowed:
            self.admitted.append((key, now_s))
            counted.append(now_s)
        frees_in_s = min(counted) + self.window_s - now_s
        return Expected(
            allowed, self.limit - len(counted), frees_in_s, 0.0 if allowed else frees_in_s
        )
