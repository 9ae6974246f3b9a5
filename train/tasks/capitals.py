"""A task with short answers for a real chat model: "What is the capital of Peru?".

A row of its files holds a chat of one question and the answer. Held-out questions ask for other countries than those
of training. The table is of members of the United Nations whose capital is not in dispute, on the move or unnamed;
where there are several seats (Bolivia, South Africa, Sri Lanka), each is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rewards.frozen.encoding import response_text
from train.tasks.capital_claims import claimed_name, normalise

# country = other names of it: capital = other accepted spellings
_TABLE = """
Afghanistan: Kabul; Albania: Tirana = Tirane; Algeria: Algiers; Andorra: Andorra la Vella; Angola: Luanda
Antigua and Barbuda: St. John's; Argentina: Buenos Aires; Armenia: Yerevan; Australia: Canberra; Austria: Vienna
Azerbaijan: Baku; the Bahamas: Nassau; Bahrain: Manama; Bangladesh: Dhaka = Dacca; Barbados: Bridgetown
Belarus: Minsk; Belgium: Brussels; Belize: Belmopan; Benin: Porto-Novo; Bhutan: Thimphu = Thimbu
Bolivia: Sucre = La Paz; Bosnia and Herzegovina = Bosnia: Sarajevo; Botswana: Gaborone; Brazil: Brasília
Brunei = Brunei Darussalam: Bandar Seri Begawan; Bulgaria: Sofia; Burkina Faso: Ouagadougou; Burundi: Gitega
Cambodia: Phnom Penh; Cameroon: Yaoundé; Canada: Ottawa; Cape Verde = Cabo Verde: Praia
the Central African Republic: Bangui; Chad: N'Djamena; Chile: Santiago = Santiago de Chile
China = the People's Republic of China: Beijing = Peking; Colombia: Bogotá = Bogotá, D.C.; the Comoros: Moroni
Costa Rica: San José; Croatia: Zagreb; Cuba: Havana = La Habana; Cyprus: Nicosia = Lefkosia
the Czech Republic = Czechia: Prague = Praha; Denmark: Copenhagen
the Democratic Republic of the Congo = DR Congo = DRC: Kinshasa; Djibouti: Djibouti = Djibouti City
Dominica: Roseau; the Dominican Republic: Santo Domingo; East Timor = Timor-Leste: Dili; Ecuador: Quito
Egypt: Cairo; El Salvador: San Salvador; Eritrea: Asmara; Estonia: Tallinn
Eswatini = Swaziland: Mbabane = Lobamba; Ethiopia: Addis Ababa; Fiji: Suva; Finland: Helsinki; France: Paris
Gabon: Libreville; the Gambia: Banjul; Georgia: Tbilisi; Germany: Berlin; Ghana: Accra; Greece: Athens
Grenada: St. George's; Guatemala: Guatemala City = Ciudad de Guatemala; Guinea: Conakry; Guinea-Bissau: Bissau
Guyana: Georgetown; Haiti: Port-au-Prince; Honduras: Tegucigalpa; Hungary: Budapest
Iceland: Reykjavík; India: New Delhi; Indonesia: Jakarta; Iran: Tehran = Teheran; Iraq: Baghdad = Bagdad
Ireland = the Republic of Ireland: Dublin; Italy: Rome = Roma; the Ivory Coast = Côte d'Ivoire: Yamoussoukro
Jamaica: Kingston; Japan: Tokyo; Jordan: Amman; Kazakhstan: Astana = Nur-Sultan; Kenya: Nairobi
Kiribati: Tarawa = South Tarawa; Kuwait: Kuwait City; Kyrgyzstan: Bishkek; Laos: Vientiane; Latvia: Riga
Lebanon: Beirut; Lesotho: Maseru; Liberia: Monrovia; Libya: Tripoli; Liechtenstein: Vaduz; Lithuania: Vilnius
Luxembourg: Luxembourg = Luxembourg City; Madagascar: Antananarivo = Tananarive; Malawi: Lilongwe
Malaysia: Kuala Lumpur; the Maldives: Malé; Mali: Bamako; Malta: Valletta = Valetta
the Marshall Islands: Majuro; Mauritania: Nouakchott; Mauritius: Port Louis
Mexico: Mexico City = Ciudad de México; Micronesia = the Federated States of Micronesia: Palikir
Moldova: Chișinău = Kishinev; Monaco: Monaco = Monaco City = Monaco-Ville; Mongolia: Ulaanbaatar = Ulan Bator
Montenegro: Podgorica; Morocco: Rabat; Mozambique: Maputo; Myanmar = Burma: Naypyidaw = Nay Pyi Taw = Naypyitaw
Namibia: Windhoek; Nepal: Kathmandu = Katmandu; the Netherlands: Amsterdam; New Zealand: Wellington
Nicaragua: Managua; Niger: Niamey; Nigeria: Abuja; North Korea: Pyongyang; North Macedonia: Skopje; Norway: Oslo
Oman: Muscat; Pakistan: Islamabad; Palau: Ngerulmud; Panama: Panama City = Ciudad de Panamá
Papua New Guinea: Port Moresby; Paraguay: Asunción; Peru: Lima; the Philippines: Manila
Poland: Warsaw = Warszawa; Portugal: Lisbon = Lisboa; Qatar: Doha
the Republic of the Congo = Congo-Brazzaville: Brazzaville; Romania: Bucharest; Russia: Moscow; Rwanda: Kigali
Saint Kitts and Nevis: Basseterre; Saint Lucia: Castries; Saint Vincent and the Grenadines: Kingstown; Samoa: Apia
San Marino: San Marino = the City of San Marino; São Tomé and Príncipe: São Tomé; Saudi Arabia: Riyadh
Senegal: Dakar; Serbia: Belgrade; the Seychelles = Seychelles: Victoria; Sierra Leone: Freetown
Singapore: Singapore = Singapore City; Slovakia: Bratislava; Slovenia: Ljubljana; the Solomon Islands: Honiara
Somalia: Mogadishu = Muqdisho; South Africa: Pretoria = Cape Town = Bloemfontein = Tshwane; South Korea: Seoul
South Sudan: Juba; Spain: Madrid; Sri Lanka: Sri Jayawardenepura Kotte = Kotte = Colombo; Sudan: Khartoum
Suriname: Paramaribo; Sweden: Stockholm; Switzerland: Bern = Berne; Syria: Damascus; Tajikistan: Dushanbe
Tanzania: Dodoma; Thailand: Bangkok; Togo: Lomé; Tonga: Nukuʻalofa; Trinidad and Tobago: Port of Spain
Tunisia: Tunis; Turkey = Türkiye: Ankara; Turkmenistan: Ashgabat = Aşgabat = Ashkhabad; Tuvalu: Funafuti
Uganda: Kampala; Ukraine: Kyiv = Kiev = Kyyiv; the United Arab Emirates = UAE: Abu Dhabi
the United Kingdom = UK = Great Britain = England: London
the United States = the United States of America = USA = US = America: Washington, D.C. = Washington
Uruguay: Montevideo; Uzbekistan: Tashkent = Toshkent; Vanuatu: Port Vila; Venezuela: Caracas
Vietnam = Viet Nam: Hanoi; Yemen: Sana'a; Zambia: Lusaka; Zimbabwe: Harare
"""


def _read_table() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    capitals, names = {}, {}
    for entry in _TABLE.strip().replace("\n", ";").split(";"):
        country, answers = ([part.strip() for part in side.split(" = ")] for side in entry.split(":"))
        capitals[country[0]], names[country[0]] = tuple(answers), tuple(country)
    return capitals, names


# country, as the question names it -> accepted capitals, the first of them the usual spelling; and its other names
CAPITALS, COUNTRY_NAMES = _read_table()
_QUESTION = "What is the capital of {}?"


def question_of(country: str) -> str:
    """The question, e.g. ``What is the capital of the Gambia?``."""
    return _QUESTION.format(country)


def asked_country(question: str) -> str:
    """What a question asks the capital of; ``ValueError`` if it asks for something else."""
    country = question.removeprefix(_QUESTION.partition("{")[0]).removesuffix("?")
    if question != question_of(country):
        raise ValueError(f"not a question of this task ({question_of('COUNTRY')}): {question!r}")
    return country


@cache
def country_of(question: str) -> str:
    """The country that a question asks for; ``ValueError`` if it is not a question of this task."""
    country = asked_country(question)
    if country not in CAPITALS:
        raise ValueError(f"not a question of this task ({question_of('COUNTRY')}): {question!r}")
    return country


def answer_of(question: str, response: str) -> str | None:
    """The capital that ``response`` claims: as the table spells it if it is right, else normalised; None where it
    claims none, several or a denied one. What counts as a claim is in `capital_claims`. The question may be of a
    country that is not in the table, or of none."""
    country = asked_country(question)
    right = {normalise(name) for name in CAPITALS.get(country, ())}
    claim = claimed_name(response, COUNTRY_NAMES.get(country, (country,)), right)
    return CAPITALS[country][0] if claim in right else claim


def is_correct(question: str, response: str) -> bool:
    """Whether ``response`` claims the capital that ``question`` asks for, and nothing beside it."""
    return answer_of(question, response) == CAPITALS[country_of(question)][0]


def capital_accuracy(prompts: Sequence, completions: Sequence, **kwargs) -> list[float | None]:
    """TRL reward function: 1.0 where :func:`is_correct`, else 0.0, for chats whose last message is the question and
    for plain questions; None where the question is of no country in the table."""
    questions = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
    return [
        float(is_correct(q, response_text(c))) if asked_country(q) in CAPITALS else None
        for q, c in zip(questions, completions, strict=True)
    ]


def split_countries(n_heldout: int = 64, seed: int = 0) -> tuple[list[str], list[str]]:
    """Countries for training and ``n_heldout`` others for evaluation, in an order and a split that the seed fixes.

    Raises ``ValueError`` if no country would be left on one of the sides.
    """
    if not 0 < n_heldout < len(CAPITALS):
        raise ValueError(f"n_heldout is {n_heldout}; set it between 1 and {len(CAPITALS) - 1}")
    countries = [str(c) for c in np.random.default_rng(seed).permutation(sorted(CAPITALS))]
    return countries[n_heldout:], countries[:n_heldout]


def write_splits(
    data_dir: str | Path, n_heldout: int = 64, seed: int = 0, system_prompt: str | None = None
) -> tuple[Path, Path]:
    """Write ``train.jsonl`` and ``heldout.jsonl`` into ``data_dir``, made if absent, and return their paths.

    A row has ``prompt``, a chat of the question (after ``system_prompt``, if there is one; without it a chat template
    may put its own), and ``answer``, the usual spelling of the capital.
    """
    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    paths = []
    for name, countries in zip(("train", "heldout"), split_countries(n_heldout, seed), strict=True):
        rows = []
        for country in countries:
            chat = [*system, {"role": "user", "content": question_of(country)}]
            rows.append(json.dumps({"prompt": chat, "answer": CAPITALS[country][0]}, ensure_ascii=False) + "\n")
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(rows), encoding="utf-8")
    return paths[0], paths[1]
