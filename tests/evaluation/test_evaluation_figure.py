"""The picture has both curves with their bands, and the ranges of gain and loss."""

import numpy as np

from evaluations import report
from passk_trl.evaluation.evaluation_figure import draw_evaluation


def test_both_curves_and_their_difference_are_drawn():
    found = report()
    at, hat, at_difference, _ = draw_evaluation(found).axes
    for axes, curves in ((at, found.overall.pass_at_k), (hat, found.overall.pass_hat_k)):
        drawn = [line.get_ydata() for line in axes.get_lines()]
        for band in curves.policies:
            for curve in (band.value, band.low, band.high):
                assert any(np.array_equal(curve, each) for each in drawn)
    drawn = [line.get_ydata() for line in at_difference.get_lines()]
    assert any(np.array_equal(found.overall.pass_at_k.difference.value, each) for each in drawn)
    assert [text.get_text() for text in at_difference.texts] == ["gain", "loss"]


def test_the_legend_names_the_policies_shortened():
    figure = draw_evaluation(report())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["my/model", "my/other"]
    long = report(num_policies=1)
    long.models[0] = "outputs/" + 50 * "x" + "/counts.jsonl"
    [text] = [text.get_text() for text in draw_evaluation(long).legends[0].get_texts()]
    assert len(text) == 40
    assert text[0] == "…"
    assert text.endswith("/counts.jsonl")


def test_what_has_no_band_is_drawn_without():
    for few in (report(num_prompts=7), report(rollouts=(1, 1)), report(num_policies=1)):
        figure = draw_evaluation(few)
        figure.canvas.draw()
        assert len(figure.axes) == 2 * len(few.models)
