"""Rounds, medians, ratios, and what is told of them."""

from collections.abc import Callable

import pytest

from benchmarks.common import Case, Report, Skipped, percentile, text_table
from benchmarks.document import BEGIN, END, NoMarkers, results_of, written


def report() -> Report:
    """Return a report without a look at this machine."""
    return Report(benchmark="example", machine={"cores": "2"})


def series(*values: float) -> Callable[[], float]:
    """Return a measurement that finds one value after the other."""
    following = iter(values)
    return lambda: next(following)


def test_what_counts_is_the_median_of_the_rounds() -> None:
    found = report()
    found.measure([Case(name="ours", unit="events/s", run=series(1.0, 100.0, 3.0))], rounds=3)
    assert found.value("ours") == 3.0


def test_contenders_take_turns_in_alternating_order() -> None:
    order: list[str] = []

    def named(name: str) -> Case:
        def run() -> float:
            order.append(name)
            return 1.0

        return Case(name=name, unit="events/s", run=run)

    report().measure([named("a"), named("b")], rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_peer_that_fails_is_left_out_with_the_reason() -> None:
    def run() -> float:
        raise Skipped("it is not installed")

    found = report()
    found.measure([Case(name="theirs", unit="events/s", run=run, peer=True)], rounds=2)
    assert found.skipped == {"theirs": "it is not installed"}
    assert found.rows == []
    assert "theirs: skipped: it is not installed" in "\n".join(text_table(found))


def test_a_failure_of_the_product_ends_the_benchmark() -> None:
    def run() -> float:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        report().measure([Case(name="ours", unit="events/s", run=run)], rounds=1)


def test_of_several_pairs_the_worst_one_counts() -> None:
    found = report()
    for name, value in (("a", 8.0), ("b", 4.0), ("c", 6.0), ("d", 2.0)):
        found.add(name, value, "events/s")
    found.least_ratio("ours_vs_theirs", [("a", "b"), ("c", "d"), ("a", "missing")])
    assert found.ratios == {"ours_vs_theirs": 2.0}


def test_a_ratio_to_what_is_missing_is_not_told() -> None:
    found = report()
    found.add("ours", 1.0, "events/s")
    found.ratio("ours_vs_theirs", "ours", "theirs")
    assert found.ratios == {}


def test_a_percentile_is_the_nearest_rank() -> None:
    assert percentile([float(each) for each in range(100)], 0.99) == 99.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_results_replace_what_is_between_the_markers_and_nothing_else() -> None:
    found = report()
    found.add("ours", 1234.0, "events/s")
    found.ratios["hot_vs_uniform"] = 0.5
    results = results_of([found.as_json()])
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = written(document, results)
    assert new.startswith(f"before\n{BEGIN}\n")
    assert new.endswith(f"{END}\nafter\n")
    assert "| ours | 1,234 | events/s | Evenkeel |" in new
    assert "| example | `hot_vs_uniform` | 0.50 | at least 0.90 | no |" in new
    assert "old" not in new
    assert written(new, results) == new


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(NoMarkers):
        written("nothing here", results_of([]))
