from vllm_in_step import Call, is_in_step


def calls(rounding: float, from_policy: float, from_start: float) -> list[Call]:
    return [Call(0, 6, rounding, 0.0), Call(1, 8, rounding, 0.2), Call(2, 6, from_policy, from_start)]


def test_rounding_is_in_step():
    assert is_in_step(calls(rounding=7e-8, from_policy=3e-7, from_start=0.4))  # float32, few tokens
    assert is_in_step(calls(rounding=1e-2, from_policy=2e-2, from_start=0.4))  # bfloat16


def test_one_step_behind_is_out_of_step():
    assert not is_in_step(calls(rounding=7e-8, from_policy=0.04, from_start=0.4))
    assert not is_in_step(calls(rounding=1e-2, from_policy=0.04, from_start=0.4))


def test_a_policy_that_hardly_moved_proves_nothing():
    assert not is_in_step(calls(rounding=1e-2, from_policy=1e-2, from_start=0.05))
