"""Polish sentences without end from templates and word lists of our own, and texts of coined words: speech for training.

Words stand in their lists already inflected: a pair of verb forms is masculine, feminine; nouns carry their gender
(m inanimate, f, n), and adjectives are put into the case and gender of the noun they stand before.
"""
from collections.abc import Callable
from itertools import chain, islice, permutations, product, zip_longest
from math import prod
from random import Random


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _adjective(stem: str, ending: str) -> str:
    """Hard stems take y, ą, e; after k and g Polish writes i, ą, ie."""
    return stem + {"y": "i", "e": "ie"}.get(ending, ending) if stem[-1] in "kg" else stem + ending


def _inflected(nouns: str, ending: str) -> list[str]:
    return [f"{_adjective(stem, ending)} {noun}" for stem, noun in product(ADJECTIVES, _split(nouns))]


ADJECTIVES = _split("""star, now, duż, mał, ciężk, lekk, zielon, żółt, czarn, brudn, czyst, piękn, brzydk, zwykł,
    dziwn, fioletow, ładn, kruch, błyszcząc, porządn""")
MEN = _split("""Grzegorz, mój wujek, stary szewc, młody żołnierz, pan Święcicki, nasz sąsiad, ten dziennikarz, Jędrzej,
    zmęczony listonosz, Franciszek, pewien żeglarz, Czesław, ogrodnik, młodszy brat, nowy dyrektor, Józek""")
WOMEN = _split("""Zuzanna, nasza sąsiadka, ciocia Jadzia, mała dziewczynka, pani Wąsik, moja żona, ta skrzypaczka,
    Elżbieta, starsza siostra, młoda lekarka, Grażyna, czyjaś babcia, szkolna woźna, Felicja, jego córka, Agnieszka""")
PEOPLE = [(name, 0) for name in MEN] + [(name, 1) for name in WOMEN]
PAIRS = list(permutations(PEOPLE, 2))
DEEDS = [tuple(pair.split("/")) for pair in _split("""kupił/kupiła, znalazł/znalazła, zgubił/zgubiła,
    sprzedał/sprzedała, schował/schowała, przyniósł/przyniosła, zobaczył/zobaczyła, zostawił/zostawiła,
    narysował/narysowała, oglądał/oglądała, wziął/wzięła, dostał/dostała, pożyczył/pożyczyła, ukrył/ukryła""")]
MOVES = [tuple(pair.split("/")) for pair in _split("""czekał/czekała, śpiewał/śpiewała, odpoczywał/odpoczywała,
    gwizdał/gwizdała, zasnął/zasnęła, pracował/pracowała, milczał/milczała, tańczył/tańczyła, krzyczał/krzyczała,
    spacerował/spacerowała, drzemał/drzemała, nucił/nuciła""")]
MASCULINE = "zegar, zeszyt, dzbanek, garnek, fotel, płaszcz, młotek, bębenek, wózek, pędzel, klucz, dywan, nóż, flet"
NEUTER = "krzesło, lustro, pudełko, wiadro, zdjęcie, pióro, łóżko, żelazko, naczynie, radio"
OBJECTS = (_inflected(MASCULINE, "y") + _inflected(NEUTER, "e")
           + _inflected("książkę, skrzynię, chustę, łyżkę, szklankę, walizkę, grzechotkę, wstążkę, świecę, łódź", "ą"))
THINGS = (_inflected(MASCULINE, "y") + _inflected(NEUTER, "e")
          + _inflected("książka, skrzynia, chusta, łyżka, szklanka, walizka, grzechotka, wstążka, świeca, miotła", "a"))
MANY = [f"{number} {_adjective(stem, 'y') + 'ch'} {noun}" for number, stem, noun in product(
    _split("pięć, sześć, siedem, osiem, dziewięć, dziesięć, jedenaście, kilkanaście, dużo, mnóstwo"), ADJECTIVES,
    _split("zegarów, dzbanków, kapeluszy, kluczy, książek, skrzyń, łyżek, szklanek, świec, krzeseł, luster, zdjęć"))]
PLACES = _split("""na strychu, w ogrodzie, pod mostem, przy studni, w szkole, nad rzeką, obok dworca, za stodołą,
    na rynku, w kuchni, między drzewami, w fabryce, przed domem, na peronie, w lesie, pod jabłonią, w warsztacie,
    koło przystani, za żywopłotem, u dentysty, w poczekalni, na łące, w gęstych krzakach, na wsi""")
TIMES = _split("""wczoraj, dzisiaj rano, w sobotę, przed świtem, po obiedzie, zeszłej jesieni, tuż przed północą,
    w środku nocy, dwa dni temu, w grudniu, późnym wieczorem, zaraz po burzy, rok temu, w zeszły czwartek,
    pewnego dnia, któregoś ranka""")
MANNERS = _split("""jak zwykle, ostrożnie, niechętnie, po cichu, znowu, bez pośpiechu, z radością, przypadkiem, chętnie,
    w tajemnicy, dość długo, całkiem sam/całkiem sama""")
CROWDS = _split("""dzieci, moi bracia, uczniowie, dziewczęta, sąsiedzi, żołnierze, nasze ciotki, studenci, harcerze,
    chłopcy, górale, turyści""")
HABITS = _split("""grają w szachy, ćwiczą taniec, suszą grzyby, liczą gwiazdy, piszą listy, czyszczą buty,
    jedzą pączki, dźwigają skrzynie, szukają psa, słuchają radia, dzwonią do rodziny, smażą dżem, gaszą świece,
    opowiadają bajki, marzą o wakacjach, kłócą się o drobiazgi, czytają gazety, myją okna""")
NATURE = [f"{subject} {verb}" for subject, verbs in {
    "gęsta mgła, ciepła noc, wilgotna jesień": "nadchodzi powoli, zaskoczyła wszystkich, trwa już długo",
    "zimny wiatr, ulewny deszcz, drobny śnieg, trzaskający mróz": "nie ustaje, zaskoczył wszystkich, daje się we znaki",
    "źrebię, cielę, jagnię, szczenię": "biegnie przez pole, zgubiło drogę, wącha świeżą trawę, śpi od rana",
    "dzięcioły, bażanty, jaskółki, świerszcze, gęsi": "hałasują od świtu, cichną o zmroku, czują już deszcz",
}.items() for subject, verb in product(_split(subject), _split(verbs))]
FUTURE = _split("""zostaniemy w domu, upieczemy szarlotkę, pójdziemy do kina, odwiedzimy dziadków, zagramy w karty,
    pojedziemy nad jezioro, rozpalimy ognisko, posprzątamy piwnicę, obejrzymy stare zdjęcia, wyślę ci kartkę,
    nauczę cię pływać, kupię sobie rower, ugotuję żurek, naprawimy płot, będę na ciebie czekać""")
ORDERS = _split("przynieś mi, oddaj wreszcie, pokaż nam, odłóż na miejsce, schowaj dobrze, weź ze sobą, opisz krótko")
WHY = _split("""nie wiem, nie pamiętam, powiedz mi, nikt nie rozumie, ciekawe, trudno zgadnąć, zapytaj go,
    wszyscy już wiedzą""")
SAYING = [tuple(pair.split("/")) for pair in _split("""twierdzi/twierdzi, myślał/myślała, przyznał/przyznała,
    usłyszał/usłyszała, uwierzył/uwierzyła, zauważył/zauważyła, powtarza/powtarza, wyznał/wyznała""")]

COINED = (3, 7)         # words of a text of coined words


def _did(person: tuple[str, int], verbs: tuple[str, ...], *rest: str) -> str:
    """Someone did something: the verb, and a manner that has two forms, agree with the person."""
    name, gender = person
    return " ".join([name, verbs[gender], *(part.split("/")[gender] if "/" in part else part for part in rest)])


# A template is a function and the lists that its arguments are drawn from.
_TEMPLATES: list[tuple[Callable[..., str], tuple[list, ...]]] = [
    (lambda when, who, did, what: f"{when} {_did(who, did, what)}.", (TIMES, PEOPLE, DEEDS, OBJECTS)),
    (lambda who, did, what, where: f"{_did(who, did, what, where)}.", (PEOPLE, DEEDS, OBJECTS, PLACES)),
    (lambda who, did, what, when: f"czy {_did(who, did, what, when)}?", (PEOPLE, DEEDS, OBJECTS, TIMES)),
    (lambda what, where, when, who, did: f"{what} {where} {_did(who, did)} {when}?",
     (["kogo", "co", "czyj rower", "jaki prezent"], PLACES, TIMES, PEOPLE, DEEDS)),
    (lambda who, did, how, where: f"{_did(who, did, how, where)}.", (PEOPLE, MOVES, MANNERS, PLACES)),
    (lambda pair, said, did, what: f"{_did(pair[0], said)}, że {_did(pair[1], did, what)}.",
     (PAIRS, SAYING, DEEDS, OBJECTS)),
    (lambda pair, moved, where, did, what: f"kiedy {_did(pair[0], moved, where)}, {_did(pair[1], did, what)}.",
     (PAIRS, MOVES, PLACES, DEEDS, OBJECTS)),
    (lambda start, wh, who, did, where: f"{start}, {wh} {_did(who, did, where)}.",
     (WHY, ["dlaczego", "kiedy", "po co"], PEOPLE, MOVES, PLACES)),
    (lambda who, did, where: f"ależ {_did(who, did, where)}!", (PEOPLE, MOVES, PLACES)),
    (lambda order, what, who: f"{order} {what}, zanim {who[0]} wróci!", (ORDERS, OBJECTS, PEOPLE)),
    (lambda thing, where: f"skąd wziął się ten hałas, czy to {thing} {where}?", (THINGS, PLACES)),
    (lambda where, many, when: f"{where} było {when} {many}.", (PLACES, MANY, TIMES)),
    (lambda crowd, habit, where: f"{crowd} od rana {habit} {where}.", (CROWDS, HABITS, PLACES)),
    (lambda wh, crowd, habit, where: f"{wh} {crowd} {habit} właśnie {where}?",
     (["dlaczego", "czemu"], CROWDS, HABITS, PLACES)),
    (lambda nature, where: f"{nature}, a {where} jest cicho.", (NATURE, PLACES)),
    (lambda nature, future: f"jeśli {nature}, {future}.", (NATURE, FUTURE)),
    (lambda thing, where: f"spójrz, jaki {thing} leży {where}!", (_inflected(MASCULINE, "y"), PLACES))]


def _sentence(make: Callable[..., str], lists: tuple[list, ...], index: int) -> str:
    """The sentence of a template with that number: the index in a mixed radix, one digit a list."""
    chosen = []
    for items in lists:
        index, digit = divmod(index, len(items))
        chosen.append(items[digit])
    text = make(*chosen)
    return text[0].upper() + text[1:]


def phrases(count: int, seed: int) -> list[str]:
    """`count` distinct sentences of 4 to 14 words, all templates in turn; the same for the same seed."""
    sizes = [prod(map(len, lists)) for _, lists in _TEMPLATES]
    if not 0 <= count <= sum(sizes):
        raise ValueError(f"the grammar makes 0 to {sum(sizes)} distinct sentences, not {count}: ask for fewer")
    random = Random(seed)
    draws = [[(make, lists, index) for index in random.sample(range(size), min(size, count))]
             for (make, lists), size in zip(_TEMPLATES, sizes)]
    turns = (turn for turn in chain.from_iterable(zip_longest(*draws)) if turn is not None)
    return [_sentence(*turn) for turn in islice(turns, count)]


def coined(texts: list[str], count: int, seed: int) -> list[str]:
    """`count` texts of words that are the first half of one word of `texts` and the second half of another: they teach
    sounds rather than words."""
    words = sorted({word.strip(".,?!-:;") for text in texts for word in text.split()} - {""})
    random = Random(seed)

    def word() -> str:
        first, second = random.choice(words), random.choice(words)
        return first[:(len(first) + 1) // 2] + second[len(second) // 2:]

    return [" ".join(word() for _ in range(random.randint(*COINED))) + "." for _ in range(count)]
