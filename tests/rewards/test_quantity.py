"""Quantities: numbers, units, what is equal, and which quantity of a text is the answer."""

import pytest

from completions import message
from passk_trl.rewards import quantity_reward


# A completion, the gold answer, the reward.
VERDICTS = [
    # The same quantity in another unit.
    ("3500 m", "3.5 km", 1),
    ("3500 km", "3.5 km", 0),
    ("3.5km", "3.5 kilometers", 1),
    ("3.5 Kilometres", "3.5 km", 1),
    ("60 mph", "60 miles per hour", 1),
    ("36 km/h", "10 m/s", 1),
    ("10 m", "10 m/s", 0),
    ("10 m/s", "10 m", 0),
    ("150 minutes", "2.5 hours", 1),
    ("3 days", "72 h", 1),
    ("5 kWh", "18 MJ", 1),
    ("5 mW", "5 MW", 0),
    ("5 N·m", "5 J", 1),
    ("100 kPa", "1 bar", 1),
    ("5.4 g/cm³", "5400 kg/m^3", 1),
    ("1 L", "1000 cm3", 1),
    ("4 square feet", "4 sq. ft.", 1),
    ("9.8 meters per second squared", "9.8 m/s^2", 1),
    ("9.8 m s^-2", "9.8 m/s²", 1),
    ("20 in", "20 inches", 1),
    ("5 light-years", "5 light years", 1),
    ("1000 MB", "1 GB", 1),
    ("5 kg", "5 km", 0),
    ("8.0467 km", "5 miles", 1),
    ("8.05 km", "5 miles", 0),
    ("5 Kg", "5 kg", 1),
    ("5 kilos", "5 kg", 1),
    ("1 AU", "149597870.7 km", 1),
    ("5 KM", "5 km", 1),
    ("50 Ohm", "50 Ω", 1),
    ("5 A", "5 amperes", 1),
    ("5 A", "5 amps", 1),
    ("5 a", "5 A", 0),
    (r"\boxed{5\ \mathrm{m\,s^{-1}}}", "5 m/s", 1),
    (r"\boxed{5\ \frac{\text{m}}{\text{s}^2}}", "5 m/s^2", 1),
    # Temperatures and angles.
    ("77 °F", "25 °C", 1),
    ("25 degrees Celsius", "298.15 K", 1),
    ("32°F", "0 °C", 1),
    ("25 °F", "25 °C", 0),
    ("25 ºC", "25 °C", 1),
    ("25℃", "25 °C", 1),
    (r"\boxed{25^\circ\text{C}}", "25 °C", 1),
    (r"\boxed{90^{\circ}}", "90 degrees", 1),
    # Money and shares.
    ("$1,200", "$1200", 1),
    ("1200 dollars", "$1,200", 1),
    ("-$5", "-5 USD", 1),
    ("20 cents", "$0.20", 1),
    ("$5 million", "$5,000,000", 1),
    ("€5", "$5", 0),
    ("US$5", "$5", 1),
    ("$-5", "-$5", 1),
    (r"\boxed{\$5}", "$5", 1),
    (r"It costs $\$5$.", "$5", 1),
    ("from $5 to $6", "$6", 0),
    ("$5-$6", "$5", 0),
    ("$1,201", "$1,200", 0),
    (r"\boxed{12\%}", "12%", 1),
    ("12 percent", "12 %", 1),
    ("0.12", "12%", 0),
    ("12%", "0.12", 1),
    ("12%", "12", 1),
    ("12", "12%", 0),
    # Numbers.
    ("1.5e3 kg", "1500 kg", 1),
    ("1.5 × 10³ kg", "1.5 tonnes", 1),
    (r"\boxed{1.5\times10^{3}\,\mathrm{kg}}", "1500 kg", 1),
    ("10^3 kg", "1 tonne", 1),
    ("2 1/2 hours", "150 min", 1),
    ("2½ hours", "2.5 h", 1),
    (r"\boxed{2\frac{1}{2}\text{ hours}}", "2.5 h", 1),
    ("1/2 cup", "0.5 cups", 1),
    ("-3/4 km", "-750 m", 1),
    ("3/4 km", "-750 m", 0),
    ("−40 °C", "-40 °F", 1),
    ("1 200 m", "1.2 km", 1),
    ("1{,}200 m", "1.2 km", 1),
    ("1,5 km", "5 km", 0),
    ("1,5 km", "1.5 km", 0),
    ("5.0.1 m", "5 m", 0),
    ("1:30 h", "1 h", 0),
    # A part of something else is no number.
    ("5.0.1", "5", 0),
    ("12:30", "1", 0),
    ("12:30", "12", 0),
    ("1,5", "1", 0),
    ("1,2345", "1", 0),
    ("1234,567", "1234", 0),
    ("3,4,5", "3", 0),
    ("3/4/2020", "3", 0),
    ("1.5/2", "1.5", 0),
    ("2^3", "2", 0),
    ("2**n", "2", 0),
    ("2π", "2", 0),
    (r"2\pi", "2", 0),
    (r"\boxed{2\sqrt{3}}", "2", 0),
    (r"\boxed{\sqrt{2}}", "2", 0),
    (r"\boxed{\frac{\sqrt{3}}{2}}", "2", 0),
    ("Answer: 2+3", "2", 0),
    # Signs, fractions at the end of a sentence, and LaTeX and Markdown around a number.
    ("minus 5", "-5", 1),
    ("Negative 5", "5", 0),
    ("It is 3/4.", "0.75", 1),
    ("It is 2 1/2.", "2.5", 1),
    (r"\boxed{\frac{-1}{2}}", "-0.5", 1),
    ("The answer is **5** km.", "5 km", 1),
    ("**The answer is 5 km**", "5 km", 1),
    ("10**3 m or 10**3 m", "1 km", 1),
    ("The answer is $5$ km.", "5 km", 1),
    (r"It is $5\,\text{km}$.", "5 km", 1),
    (r"It is \(5\) km.", "5 km", 1),
    (r"$$d = 5\ \text{km}$$", "5 km", 1),
    ("３．５\u00a0ｋｍ", "3500 m", 1),
    ("five km", "5 km", 0),
    ("1/0 m", "5 m", 0),
    ("1/0 m 5 cm", "5 m", 0),
    ("1e999 m 5 cm", "5 m", 0),
    ("1e999 m", "5 m", 0),
    ("9" * 5000 + " m", "5 m", 0),
    # Parts of one quantity.
    ("2 h 30 min", "150 min", 1),
    ("2 hours and 30 minutes", "2.5 h", 1),
    ("5'11\"", "71 in", 1),
    ("6 ft. 2 in.", "74 in", 1),
    ("1 h 90 min", "2.5 h", 0),
    # Units that are missing, unknown or words.
    ("3.5", "3.5 km", 0),
    ("5", "5", 1),
    ("5.0", 5, 1),
    ("5 km", "5", 1),
    ("5 apples", "5", 1),
    ("5 m at sea level", "5 m", 1),
    ("5 a day", "5", 1),
    ("20 minutes in all", "20 min", 1),
    ("", "5 m", 0),
    ("none", "5 m", 0),
    # Which quantity is the answer.
    ("Of 6 km, 2 km are left.", "2 km", 1),
    ("Of 6 km, 2 km are left.", "6 km", 0),
    ("3 km + 2 km = 5 km", "5 km", 1),
    ("The answer is 5 km, because 3 km + 2 km = 5 km.", "5 km", 1),
    ("The answer is 5 km. That is more than 3 km.", "5 km", 1),
    ("Answer: d = 5 km", "5 km", 1),
    (r"\boxed{v_1 = 5\ \text{m/s}}, not 3 m/s", "5 m/s", 1),
    ("5 km or 6 km", "6 km", 0),
    (r"\boxed{5 km, 6 km}", "5 km", 0),
    ("Answer: 5 km; 6 km", "5 km", 0),
    ("Answer: 5 km; that is 5000 m", "5 km", 1),
    ("3-5 km", "5 km", 0),
    ("between 3 km and 5 km", "5 km", 0),
    ("5 km (5000 m)", "5 km", 1),
    ("5 km (6000 m)", "5 km", 0),
    # Gold answers that cannot be read are unscorable.
    ("5 km", "x = 5 km", 1),
    ("5", "5 apples", None),
    ("5 km", "5 km or 6 km", None),
    ("5 km", "3 km of 5 km", None),
    ("5 m", "1/0 m", None),
    ("5 m", "many", None),
    ("5 m", "", None),
    ("5 m", None, None),
]


@pytest.mark.parametrize(("completion", "gold", "reward"), VERDICTS)
def test_quantity(completion, gold, reward):
    assert quantity_reward([completion], [gold]) == [reward]
    assert quantity_reward([message(completion)], [gold]) == [reward]


def test_the_tolerance_is_a_share_of_the_gold_number():
    assert quantity_reward(["8.05 km", "8.2 km"], ["5 miles"] * 2, relative_tolerance=1e-3) == [1, 0]
    assert quantity_reward(["2e-12 m"], ["1e-12 m"]) == [0]
    assert quantity_reward(["0.1 m"], ["0 m"]) == [0]


@pytest.mark.parametrize("gold", [True, ["5 km"], {"value": "5 km"}])
def test_a_gold_answer_of_another_kind_is_refused(gold):
    with pytest.raises(
        ValueError, match=r"^solution is .* of type \w+: set it to a string such as '3\.5 km', or to a num"
    ):
        quantity_reward(["5 km"], [gold])
