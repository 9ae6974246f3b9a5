"""What a response claims to be the capital: right where it says so, once, and of the country asked for."""

import pytest

from train.tasks.capital_claims import claimed_name, normalise

RIGHT = [
    "Paris",
    "paris.",
    "PARIS!",
    ' "Paris"\n',
    "**Paris**",
    "Páris",
    "Answer: Paris",
    "The answer is Paris.",
    "It's Paris, France.",
    "It is Paris.",
    "Paris (France)",
    "Capital: Paris",
    "Yes, Paris is the capital of France.",
    "Sure! The capital of France is Paris.",
    "Great question! The capital of France is Paris. It is",
    "The capital of France is Paris.",
    "the capital of france is actually paris",
    "The capital city of France is indeed called Paris",
    "The capital of France is the vibrant city of Paris.",
    "The capital city in France is Paris.",
    "France, in Europe, has a capital city called Paris.",
    "The capital of France is the city of Paris, a city known for art, culture, and food",
    "The capital of France is Paris, which is located on the Seine. It is",
    "The capital of France is Paris and it is",
    "The capital of France is Paris – a city on the Seine.",
    "The capital and largest city of France is Paris.",
    "The capital of this country is Paris.",
    "Paris is the capital of France.",
    "Paris is its capital.",
    "France's capital is Paris.",
    "France is a republic whose capital is Paris.",
    "I believe the capital of France is Paris.",
    "Paris is the capital and largest city of France, and it is",
    "Paris, which lies on the Seine, is the capital of France.",
    "France is a country in Europe. Its capital is Paris.",
    "Paris, not London.",
    "The capital of France is Paris, not Lyon.",
    "Lyon is not the capital of France. The capital of France is Paris.",
    "The capital of France is Paris. Lyon is a large city in the south.",
    "The capital of France is Paris. The capital of Germany is Berlin.",
    "Lutetia",
    "Paris, formerly Lutetia",
    "Paris or Lutetia",
]
LISTS = [
    "Paris, London or Rome",
    "Paris, London, Rome",
    "paris, london or rome",
    "Paris and London",
    "Paris / London",
    "Paris & London",
    "Paris; London",
    "Paris (London)",
    "Paris: London",
    "Paris\nLondon\nRome",
    "1. Paris\n2. London",
    "Paris. London.",
    "either Paris or London",
    "The capital of France is Paris or Lyon.",
    "The capital of France is Paris and London.",
    "The capital of France is Paris, Sydney",
    "The capital of France is Paris. The capital of France is London.",
    "The capital of France is Paris, and Lyon is the capital of France.",
]
DENIED = [
    "not Paris",
    "Not Paris, but Lyon",
    "It is not Paris.",
    "It isn't Paris.",
    "anything but Paris",
    "London, not Paris, is the capital of France.",
    "The capital of France is not Paris.",
    "The capital of France isn’t Paris.",
    "The capital of France is Lyon, not Paris.",
    "Paris is not the capital of France.",
    "Neither Paris nor London is the capital of France",
    "It is false that Paris is the capital of France.",
    "I don't think the capital of France is Paris.",
    "If the capital of France is Paris, then",
    "The capital of France is Paris, which is wrong.",
    "The capital of France is Paris, but it should be Lyon.",
    "Many wrongly believe that the capital of France is Paris.",
    "Paris. No, London.",
    "Paris. Actually, I do not know.",
    "Paris. Or is it something else that I have forgotten",
    "Paris?",
    "Is it Paris?",
    "Is Paris the capital of France?",
]
OTHERWISE = [
    "",
    " \n",
    "France",
    "Parisian",
    "Paris.London",
    "Paris Texas",
    "Paris, Texas",
    "Paris-London",
    "It might be Paris.",
    "Paris is a beautiful city.",
    "The capital of Germany is Paris.",
    "Paris is the capital of Germany.",
    "The capital of Francetown is Paris.",
    "Germany's capital is Paris.",
    "The German capital is Paris.",
    "In Germany, the capital is Paris.",
    "The capital in Germany is Paris.",
    "Paris is the capital for Germany.",
    "Germany has a capital city called Paris.",
    "The capital of France was Paris.",
    "Paris was the capital of France.",
    "The capital of France is Lyon. Paris is nice.",
    "Lyon. The capital of France is Paris.",
    "The capital of France is",
    "The capital of France is a city",
]


def right(response):
    return claimed_name(response, ["France"], {"paris", "lutetia"}) in ("paris", "lutetia")


@pytest.mark.parametrize("response", RIGHT)
def test_a_claim_is_read(response):
    assert right(response)


@pytest.mark.parametrize("response", [*LISTS, *DENIED, *OTHERWISE])
def test_what_does_not_claim_the_name_alone_is_not_right(response):
    assert not right(response)


@pytest.mark.parametrize("response", [*LISTS[:3], "not Paris", "Paris?", "Paris is a beautiful city."])
def test_no_claim_is_none(response):
    assert claimed_name(response, ["France"], {"paris"}) is None


@pytest.mark.parametrize(
    "response, name",
    [
        ("The capital of France is Lyon, which is large.", "lyon"),
        ("Saint-Étienne is the capital of France.", "st etienne"),
        ("It's Châlons-en-Champagne.", "chalons en champagne"),
    ],
)
def test_a_wrong_claim_is_named(response, name):
    assert claimed_name(response, ["France"], {"paris"}) == name


def test_all_names_of_the_country_count():
    names = ["the Ivory Coast", "Côte d'Ivoire"]
    for name in ("Ivory Coast", "the Ivory Coast", "Cote d’Ivoire", "CÔTE D'IVOIRE"):
        assert claimed_name(f"The capital of {name} is Yamoussoukro.", names, {"yamoussoukro"}) == "yamoussoukro"


@pytest.mark.parametrize(
    "text, plain",
    [
        ("Port-au-Prince", "port au prince"),
        ("São Tomé", "sao tome"),
        ("Nukuʻalofa", "nukualofa"),
        ("St. John’s", "st johns"),
        ("Saint John's", "st johns"),
        ("Washington, D.C.", "washington dc"),
        ("Washington D.C", "washington dc"),
        ("WASHINGTON, DC", "washington dc"),
        ("In the U.S.A. it rains", "in the usa it rains"),
        ("Washington, D.C. It rains", "washington dc. it rains"),
    ],
)
def test_normal_spelling(text, plain):
    assert normalise(text) == plain


@pytest.mark.parametrize(
    "unit", ["is the ", "the capital of ", "paris, ", "a b ", "answer: ", "A.", "paris. ", "St. "]
)
def test_long_text_is_read_in_linear_time(unit):
    """A quadratic search would take minutes for these."""
    assert not right(unit * 30_000 + "x")
