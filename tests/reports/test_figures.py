"""What the figures of a run show: each number where it belongs."""

import math

import numpy as np
import pytest

from passk_trl.reports.figures import (
    draw_agreement,
    draw_curve,
    draw_forecast,
    draw_heat_map,
    draw_overview,
    draw_training,
)
from passk_trl.reports.run import read_run
from passk_trl.reports.wording import known_cosines
from runs import record, write_arguments, write_probes, write_state


START = {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.75}


@pytest.fixture
def run(tmp_path):
    write_probes(tmp_path / "run", [record(0, False), record(10, True), record(40, True)])
    write_state(tmp_path / "run", {0: START, 20: {1: 0.4, 2: 0.6, 4: 0.8, 8: 0.9}})
    write_arguments(tmp_path / "run", 4)
    return read_run(tmp_path / "run")


@pytest.fixture
def other(tmp_path):
    write_state(tmp_path / "other", {0: START, 20: START})
    write_arguments(tmp_path / "other", 1)
    return read_run(tmp_path / "other")


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def test_the_heat_map_has_each_cosine_in_its_cell_and_the_onset_and_the_training_k(run):
    axes = draw_heat_map(run).axes[0]
    cells = axes.collections[0]
    drawn = cells.get_array()
    for at, each in enumerate(run.probes.values()):
        told = ~known_cosines(each.report)[0].isnan().numpy()
        assert np.ma.getmaskarray(drawn)[:, at].tolist() == (~told).tolist()
        np.testing.assert_array_equal(drawn[told, at], each.report.cosine.clamp(-1, 1).numpy()[told])
    assert 0 < np.ma.getmaskarray(drawn).sum() < drawn.size
    assert cells.get_clim() == (-1, 1)
    edges = cells.get_coordinates()
    assert edges[0, :, 0].tolist() == [-5, 5, 25, 55]  # cells around steps that are not equally far apart
    assert all(low < k < high for k, low, high in zip(range(1, 8), edges[:-1, 0, 1], edges[1:, 0, 1], strict=True))
    onset, trained_for = (line.get_ydata() for line in axes.get_lines())
    assert math.isnan(onset[0])
    assert list(onset[1:]) == [run.probes[step].report.onset for step in (10, 40)]
    assert list(trained_for) == [4, 4]
    dots = axes.collections[1].get_offsets().tolist()
    assert dots == [[step, k] for step in (10, 40) for k in run.probes[step].report.conflict_ks]


def test_the_heat_map_takes_one_probe_and_probes_of_other_ks(run, tmp_path):
    fewer = record(10, True)
    report = fewer["report"]
    fewer["report"] = {
        k: v[:3]
        if k in ("ks", "inner_product_se", "norm_squared", "degrees") or "cosine" in k or "product" in k
        else v
        for k, v in report.items()
    }
    write_probes(tmp_path / "mixed", [record(0, True), fewer])
    cells = draw_heat_map(read_run(tmp_path / "mixed")).axes[0].collections[0]
    told = [~known_cosines(probe.report)[0].isnan() for probe in read_run(tmp_path / "mixed").probes.values()]
    expected = [[not told[0][k], k >= 3 or not told[1][k]] for k in range(7)]
    assert np.ma.getmaskarray(cells.get_array()).tolist() == expected
    write_probes(tmp_path / "one", [record(0, True)])
    assert draw_heat_map(read_run(tmp_path / "one")).axes[0].collections[0].get_array().shape == (7, 1)


def test_the_overview_shows_cosine_with_error_bars_and_pass_at_k_of_both_runs(run, other):
    left, right = draw_overview(run, [other]).axes
    assert left.get_xlabel() == "k"
    assert len(left.containers) == 2  # of the probe shown and of the last
    assert [line.get_label() for line in right.get_lines()] == [
        "pass@1, trained for pass@4",
        "pass@4, trained for pass@4",
        "pass@1, trained for pass@1",
        "pass@4, trained for pass@1",
    ]
    assert right.get_lines()[1].get_ydata().tolist() == [0.7, 0.8]


def test_the_curve_is_that_of_the_first_probe_in_conflict_and_of_the_latest(run):
    assert labels(draw_curve(run).axes[0]) == ["step 10", "step 40"]


def test_pass_at_k_over_training_has_the_probes_with_intervals(run):
    axes = draw_training(run).axes[0]
    assert labels(axes) == [
        "pass@1, trained for pass@4",
        "pass@4, trained for pass@4",
        "pass@1 in the reports",
        "pass@4 in the reports",
    ]
    points, _, (bars,) = axes.containers[1]
    mean, margin = run.probes[10].pass_at(4)
    assert points.get_xdata().tolist() == [0, 10, 40]
    assert points.get_ydata()[1] == pytest.approx(mean)
    assert bars.get_segments()[1][:, 1].tolist() == pytest.approx([mean - margin, mean + margin])


def test_agreement_is_set_against_success_with_weights_as_size(run):
    figure = draw_agreement(run)
    assert [axes.get_title()[:8] for axes in figure.axes] == ["step 10,", "step 40,"]
    agreeing, opposing, _ = figure.axes[0].collections
    report = run.probes[10].report
    assert opposing.get_offsets().tolist() == [[1 / 8, value] for value in report.agreement[12:].tolist()]
    assert len(agreeing.get_offsets()) == 12
    weight = report.weights[3]
    assert opposing.get_sizes()[0] - 8 == pytest.approx(120)  # the hard prompts have the most weight
    assert agreeing.get_sizes()[0] - 8 == pytest.approx(120 * float(weight[0] / weight.max()))
    assert agreeing.get_paths()[0].vertices.shape != opposing.get_paths()[0].vertices.shape  # other marks


def test_the_forecast_is_beside_what_came_of_it(run):
    measured, forecast = draw_forecast(run).axes[0].containers
    assert forecast[0].get_xdata().tolist() == [10, 40]
    assert forecast[0].get_ydata().tolist() == [each.change for each in run.forecast_outcomes]
    assert measured[0].get_xdata().tolist() == [25]  # between the two probes
    assert measured[0].get_ydata().tolist() == [run.forecast_outcomes[0].measured.change]
