from passk_trl import control


def test_recipes_know_every_controller_by_name_and_the_recommended_ones_come_first():
    assert list(control.CONTROLLERS)[:3] == ["guard", "mix", "governor"]
    abstract = {"CONTROLLERS", "Controller", "Decision", "Situation"}
    assert {each.__name__ for each in control.CONTROLLERS.values()} == set(control.__all__) - abstract
