"""Small tables of facts that questions are made of."""

CAPITALS = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Belgium": "Brussels",
    "Bulgaria": "Sofia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Croatia": "Zagreb",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Ecuador": "Quito",
    "Egypt": "Cairo",
    "Ethiopia": "Addis Ababa",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Ghana": "Accra",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "India": "New Delhi",
    "Indonesia": "Jakarta",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Jamaica": "Kingston",
    "Japan": "Tokyo",
    "Jordan": "Amman",
    "Kenya": "Nairobi",
    "Lebanon": "Beirut",
    "Mexico": "Mexico City",
    "Morocco": "Rabat",
    "Nepal": "Kathmandu",
    "Norway": "Oslo",
    "Pakistan": "Islamabad",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Romania": "Bucharest",
    "Russia": "Moscow",
    "Senegal": "Dakar",
    "Serbia": "Belgrade",
    "South Korea": "Seoul",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Syria": "Damascus",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Tunisia": "Tunis",
    "Uruguay": "Montevideo",
    "Venezuela": "Caracas",
    "Vietnam": "Hanoi",
}
"""Countries and their capitals."""

# Not Python's calendar: its names are those of the machine's language.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""The days of the week."""

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
"""The months of the year."""

OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("left", "right"),
    ("day", "night"),
    ("black", "white"),
    ("fast", "slow"),
    ("young", "old"),
    ("happy", "sad"),
    ("open", "closed"),
    ("full", "empty"),
    ("rich", "poor"),
    ("hard", "soft"),
    ("wet", "dry"),
    ("strong", "weak"),
    ("tall", "short"),
    ("thick", "thin"),
    ("win", "lose"),
    ("early", "late"),
    ("push", "pull"),
    ("buy", "sell"),
    ("love", "hate"),
    ("true", "false"),
    ("light", "dark"),
    ("inside", "outside"),
    ("first", "last"),
    ("near", "far"),
    ("loud", "quiet"),
    ("clean", "dirty"),
    ("yes", "no"),
)
"""Pairs of words, each the opposite of the other."""

OTHER_OPPOSITES = {
    "big": "little",
    "hard": "easy",
    "light": "heavy",
    "old": "new",
    "open": "close",
    "quiet": "noisy",
    "right": "wrong",
    "short": "long",
    "small": "large",
    "thin": "fat",
}
"""A second opposite of a word of `OPPOSITES`, which is as good."""

UNITS = (
    ("minute", "second", 60),
    ("hour", "minute", 60),
    ("day", "hour", 24),
    ("week", "day", 7),
    ("year", "month", 12),
    ("century", "year", 100),
    ("foot", "inch", 12),
    ("yard", "foot", 3),
    ("meter", "centimeter", 100),
    ("kilometer", "meter", 1000),
    ("kilogram", "gram", 1000),
    ("dollar", "cent", 100),
)
"""A unit, a smaller one, and how many of the smaller one make the larger one."""

WORDS = (
    *("apple", "bridge", "candle", "doctor", "engine", "flower", "garden", "hammer", "island", "jungle"),
    *("kitchen", "ladder", "mirror", "needle", "orange", "pencil", "queen", "river", "school", "table"),
    *("umbrella", "village", "window", "yellow", "zebra", "animal", "button", "castle", "dragon", "eagle"),
    *("forest", "guitar", "honey", "insect", "jacket", "king", "lemon", "monkey", "number", "ocean"),
    *("planet", "rabbit", "silver", "tiger", "uncle", "violin", "winter"),
)
"""Words to spell."""

_ONES = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

NUMBER_WORDS = {**dict(enumerate(_ONES)), **dict(zip(range(20, 100, 10), _TENS, strict=True))}
"""Numbers of one word, and no word for 0."""

EXAMPLES = {
    "day": (("Which day is 1 day before Monday?", "Sunday"), ("Which day is 2 days before Sunday?", "Friday")),
    "month": (("Which month is 1 month before March?", "February"), ("Which month is 2 months before May?", "March")),
    "letter": (("Which letter comes first in the alphabet?", "A"), ("Which letter comes last in the alphabet?", "Z")),
    "spelling": (
        ("What is the first letter of the word cat?", "c"),
        ("What is the last letter of the word dog?", "g"),
    ),
    "number": (("Write the number twelve in digits.", "12"), ("Write the number 7 in words.", "seven")),
    "larger": (("Which number is larger, 3 or 9?", "9"), ("Which number is larger, 15 or 12?", "15")),
    "unit": (("How many wheels are in 2 bicycles?", "4"), ("How many fingers are in 2 hands?", "10")),
    "capital": (("What is the capital of England?", "London"), ("What is the capital of Scotland?", "Edinburgh")),
    "country": (
        ("London is the capital of which country?", "England"),
        ("Edinburgh is the capital of which country?", "Scotland"),
    ),
    "choice": (
        ("Which is the capital of England? A) Cardiff B) London C) Bern", "B"),
        ("Which is the capital of Scotland? A) Edinburgh B) Bern C) London", "A"),
    ),
    "opposite": (('What is the opposite of "sweet"?', "sour"), ('What is the opposite of "good"?', "bad")),
}
"""Two answered questions of each kind. No question of the task is about the same."""
