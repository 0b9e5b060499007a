"""Polish text as it is spoken: lower case, numbers, dates and abbreviations written out."""
import re
import unicodedata
from collections.abc import Callable, Iterable

from num2words import num2words

# The only characters that are dropped (quotation marks, apostrophes, invisible characters) or replaced.
TABLE = str.maketrans(dict.fromkeys("\"'`„”“‟«»‹›‘’‚‛\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
                      | dict.fromkeys("()[]{}", " ") | dict.fromkeys("‐‑‒–—―−", "-")
                      | {"…": "...", "+": " plus ", "=": " równa się ", "&": " i ", "§": " paragraf "})

ABBREVIATIONS = {
    "br.": "bieżącego roku", "cd.": "ciąg dalszy", "dr": "doktor", "ds.": "do spraw", "gen.": "generał",
    "hab.": "habilitowany", "inż.": "inżynier", "itd.": "i tak dalej", "itp.": "i tym podobne",
    "ks.": "ksiądz", "m.in.": "między innymi", "mgr": "magister", "n.e.": "naszej ery", "np.": "na przykład",
    "nr": "numer", "p.n.e.": "przed naszą erą", "płk": "pułkownik", "prof.": "profesor",
    "św.": "święty", "tel.": "telefon", "tj.": "to jest", "tzn.": "to znaczy", "tzw.": "tak zwany", "wg": "według",
    "al.": "aleja", "pl.": "plac", "str.": "strona", "ul.": "ulica"}
# After do, na, od, po, przy, w, z.
AFTER_PREPOSITION = {"al.": "alei", "pl.": "placu", "str.": "stronie", "ul.": "ulicy"}

# Forms for 1, for 2 to 4, for 5 and more (also the genitive plural), and the genitive singular, after a fraction.
UNITS = {unit: forms.split(", ") for unit, forms in {
    "%": "procent, procent, procent, procent", "°": "stopień, stopnie, stopni, stopnia",
    "cm": "centymetr, centymetry, centymetrów, centymetra", "dag": "dekagram, dekagramy, dekagramów, dekagrama",
    "g": "gram, gramy, gramów, grama", "godz": "godzina, godziny, godzin, godziny",
    "gr": "grosz, grosze, groszy, grosza", "h": "godzina, godziny, godzin, godziny",
    "ha": "hektar, hektary, hektarów, hektara", "kg": "kilogram, kilogramy, kilogramów, kilograma",
    "km": "kilometr, kilometry, kilometrów, kilometra", "l": "litr, litry, litrów, litra",
    "m": "metr, metry, metrów, metra", "min": "minuta, minuty, minut, minuty",
    "m²": "metr kwadratowy, metry kwadratowe, metrów kwadratowych, metra kwadratowego",
    "ml": "mililitr, mililitry, mililitrów, mililitra", "mld": "miliard, miliardy, miliardów, miliarda",
    "mln": "milion, miliony, milionów, miliona", "mm": "milimetr, milimetry, milimetrów, milimetra",
    "s": "sekunda, sekundy, sekund, sekundy", "sek": "sekunda, sekundy, sekund, sekundy",
    "szt": "sztuka, sztuki, sztuk, sztuki", "t": "tona, tony, ton, tony",
    "tys": "tysiąc, tysiące, tysięcy, tysiąca", "zł": "złoty, złote, złotych, złotego"}.items()}
UNITS["°c"] = [f"{form} celsjusza" for form in UNITS["°"]]
UNITS["km/h"] = [f"{form} na godzinę" for form in UNITS["km"]]
AMBIGUOUS = {"g", "godz", "h", "ha", "l", "m", "min", "s", "t"}  # a unit only where a number stands before

# Nouns after which 1 is "jedna" and 2 is "dwie"; units know it by their own ending.
FEMININE = set("""córka córki godzina godziny kobieta kobiety książka książki lekcja lekcje łyżka łyżki minuta minuty
    noc noce osoba osoby sekunda sekundy siostra siostry strona strony szklanka szklanki tona tony""".split())
MONTHS = "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia".split()
# What an ordinal ends in before these nouns.
ORDINAL_ENDING = {noun: ending for ending, nouns in {
    "a": "klasa edycja rocznica", "ą": "klasę edycję rocznicę stronę", "e": "piętro miejsce",
    "ego": "dnia miejsca piętra rozdziału tygodnia", "ej": "klasie klasy edycji rocznicy stronie",
    "ym": "miejscu piętrze rozdziale tygodniu wieku"}.items() for noun in nouns.split()}
# After a preposition: the ending of the hour, and the form of "godzina".
HOUR = dict.fromkeys(("o", "po"), ("ej", "godzinie")) | dict.fromkeys(("od", "do", "około"), ("ej", "godziny")) | {
    "przed": ("ą", "godziną"), "na": ("ą", "godzinę"), None: ("a", "godzina")}
# Endings of number words, nominative to genitive; the first that fits counts.
GENITIVE = [pair.split(":") for pair in """dwanaście:dwunastu naście:nastu dwadzieścia:dwudziestu dzieści:dziestu
    dziesiąt:dziesięciu siedemset:siedmiuset osiemset:ośmiuset ćset:ciuset ć:ciu dwieście:dwustu sta:stu sto:stu
    zero:zera dwa:dwóch trzy:trzech cztery:czterech siedem:siedmiu osiem:ośmiu tysiąc:tysiąca tysiące:tysięcy
    lion:liona liony:lionów liard:liarda liardy:liardów""".split()]


def _spell(digits: str) -> str:
    """Digits as a cardinal; leading zeros, and numbers too long to name, digit by digit."""
    rest = digits.lstrip("0")
    words = ["zero"] * (len(digits) - len(rest))
    if len(rest) > 15:
        return " ".join(num2words(int(digit), lang="pl") for digit in digits)
    return " ".join(words + [num2words(int(rest), lang="pl")] if rest else words)


def _cardinal(number: str, feminine: bool = False, genitive: bool = False) -> str:
    whole, _, fraction = number.replace(" ", "").replace(",", ".").partition(".")
    words = _spell(whole).split()
    if fraction:
        return " ".join(words + ["przecinek", _spell(fraction)])
    if words == ["jeden"]:
        return ("jednej" if feminine else "jednego") if genitive else "jedna" if feminine else "jeden"
    if genitive:
        return " ".join(next((word.removesuffix(old) + new for old, new in GENITIVE if word.endswith(old)), word)
                        for word in words)
    return " ".join(words[:-1] + ["dwie" if feminine and words[-1] == "dwa" else words[-1]])


def _ordinal(number: str, ending: str = "y") -> str:
    """Ordinal of 0 to 9999 with an adjective ending: y, ego, ym (masculine), a, ej, ą (feminine), e, ych."""
    def inflect(word: str) -> str:
        if word.endswith("y") or word == "drugi" and ending in "aą":
            return word[:-1] + ending
        return word[:-1] + "i" + ending.removeprefix("y") if word.endswith("i") else word
    words = num2words(int(number), lang="pl", to="ordinal").split() if int(number) else ["zerowy"]
    return " ".join(words[:-2] + [inflect(word) for word in words[-2:]])


def _form(number: str, forms: list[str], genitive: bool) -> str:
    digits = number.replace(" ", "")
    if not digits.isdigit() or genitive and int(digits) == 1:
        return forms[3]
    if genitive or int(digits) == 1:
        return forms[2 if genitive else 0]
    return forms[1 if int(digits) % 10 in (2, 3, 4) and int(digits) % 100 not in (12, 13, 14) else 2]


def _date(day: str, month: str, year: str | None) -> str:
    return f"{_ordinal(day, 'ego')} {month}" + (f" {_ordinal(year, 'ego')} roku" if year else "")


def _year(m: re.Match) -> str:
    before, word = m[1] or "", "rokiem" if m[1] == "przed " else "roku"
    return f"{before}{_ordinal(m[2], 'ym' if before else 'ego')} {word}"


def _time(m: re.Match) -> str:
    ending, noun = HOUR[m["preposition"]]
    word = m["noun"] or m["alone"]
    if not word and m["mark"] != ":":
        return m[0]
    minutes = _spell(m["minutes"]) if m["minutes"] and int(m["minutes"]) else ""
    noun = noun if word and word.startswith("godz.") else m["noun"]
    return " ".join(filter(None, (m["preposition"], noun, _ordinal(m["hour"], ending), minutes)))


def _quantity(m: re.Match) -> str:
    before, number, forms = m[1] or "", m[2], UNITS[m[3].rstrip(".")]
    return f"{before}{_cardinal(number, forms[0].endswith('a'), bool(before))} {_form(number, forms, bool(before))}"


def _abbreviation(m: re.Match) -> str:
    long = AFTER_PREPOSITION[m[2]] if m[1] and m[2] in AFTER_PREPOSITION else ABBREVIATIONS[m[2]]
    return (m[1] or "") + long + ("." if m[2].endswith(".") and m.end() == len(m.string) else "")


def _any(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_CAPITAL = " [A-ZĄĆĘŁŃÓŚŹŻ]"
_NUMBER = r"[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?:,[0-9]+)?|[0-9]+(?:[.,][0-9]+)?"
_OF = r"((?<!\w)(?:około|od|do|bez|dla|oprócz|powyżej|poniżej) )?"
_DAY, _MONTH, _YEAR = r"(?<![0-9.,:])(0?[1-9]|[12][0-9]|3[01])", r"(0?[1-9]|1[0-2])", r"([1-9][0-9]{3})(?![0-9])"
_R = r"(?:roku(?!\w)|r\.(?!$)|r(?!\w))"
_UNIT = r"((?:godz|min|sek|szt|tys)\.(?!$)|{})(?!\w)"
# Each rule sees what the ones before it left; the last ones take whatever digits remain.
_RULES: list[tuple[re.Pattern, Callable[[re.Match], str]]] = [(re.compile(rule), replace) for rule, replace in (
    (rf"((?<!\w)(?:do|na|od|po|przy|w|z|ze) )?(?<![\w.])({_any(ABBREVIATIONS)})(?!\w)", _abbreviation),
    (r"(?<!\w)ok\. (?=[0-9])", lambda m: "około "),
    (rf"{_DAY}\.{_MONTH}\.{_YEAR}(?: {_R})?", lambda m: _date(m[1], MONTHS[int(m[2]) - 1], m[3])),
    (rf"(?<![0-9]){_YEAR}-{_MONTH}-(0[1-9]|[12][0-9]|3[01])(?![0-9])(?: {_R})?",
     lambda m: _date(m[3], MONTHS[int(m[2]) - 1], m[1])),
    (rf"{_DAY}\.? ({_any(MONTHS)})(?!\w)(?: {_YEAR}(?![.,][0-9])(?: {_R})?)?", lambda m: _date(m[1], m[2], m[3])),
    (rf"((?<!\w)(?:w|po|przed) )?(?<![0-9.,])([1-9][0-9]{{2,3}}) {_R}", _year),
    (rf"(?<!\w)(roku?) {_YEAR}(?![.,][0-9])", lambda m: f"{m[1]} {_ordinal(m[2], 'ego' if m[1] == 'roku' else 'y')}"),
    (r"(?<!\w)(lata|latach) ([2-9]0)\.(?: |($))", lambda m: "{} {}{}".format(
        m[1], _ordinal(m[2], "e" if m[1] == "lata" else "ych"), " " if m[3] is None else ".")),
    (r"(?:(?<!\w)(?P<preposition>o|po|od|do|około|przed|na) (?:(?P<noun>godz\.|godzin\w+) )?|"
     r"(?<!\w)(?<![0-9] )(?P<alone>godz\. ))?(?<![0-9.,:])(?P<hour>[01]?[0-9]|2[0-4])"
     r"(?:(?P<mark>[:.])(?P<minutes>[0-5][0-9]))?(?![0-9]|[.,:][0-9])", _time),
    (r"(?<![0-9.,:])([1-9][0-9]{0,3})\. (?=([^\W\d_]+))",
     lambda m: _ordinal(m[1], ORDINAL_ENDING.get(m[2], "y")) + " "),
    (r"([0-9]),([0-9]{2}) ?zł(?!\w)", lambda m: f"{m[1]} zł" + (f" {int(m[2])} gr" if int(m[2]) else "")),
    (r"(?<![^ ])-(?=[0-9])", lambda m: "minus "),
    (r"(?<=[0-9])/(?=[0-9])", lambda m: " łamane przez "),
    (rf"{_OF}({_NUMBER}) ?{_UNIT.format(_any(UNITS))}", _quantity),
    (rf"{_OF}({_NUMBER})(?= ?(\w+)?)", lambda m: (m[1] or "") + _cardinal(m[2], m[3] in FEMININE, bool(m[1]))),
    (rf"(?<!\w){_UNIT.format(_any(set(UNITS) - AMBIGUOUS))}", lambda m: UNITS[m[1].rstrip('.')][2]))]


def _tidy(text: str) -> str:
    return re.sub(r" +(?=[,.?!:;])", "", " ".join(text.split()))


def normalise(text: str) -> str:
    """The sentence as it is spoken: what the synthesiser reads and `lib.data.text.encode` indexes. Idempotent.

    Composes (NFC), lowers case, collapses whitespace, applies TABLE, and writes out abbreviations, dates, years,
    times, ordinals, amounts with a unit and plain numbers in Polish. Characters that it does not know stay, for
    `encode` to report. Limits: cardinals stand in the nominative, or in the genitive after około, od, do, bez, dla,
    oprócz, powyżej, poniżej, with no form for groups of men (pięciu panów); "jedna" and "dwie" stand before feminine
    units and the nouns in FEMININE alone, "jedno" nowhere; ordinals agree with the nouns in ORDINAL_ENDING, else are
    masculine; titles stand in the nominative; 5-letni, Roman numerals, acronyms and telephone numbers are not
    understood; a dot between digits is a decimal comma, and a digit with a dot before a capital ends its sentence.
    """
    text = _tidy(unicodedata.normalize("NFC", text).translate(TABLE))
    text = re.sub(r"(?<=[0-9])(?=[^\W\d_])|(?<=[^\W\d_])(?=[0-9])", " ", text)
    text = re.sub(rf"(?<=[0-9])(?=\.{_CAPITAL})", " ", re.sub(rf"(?<!\w)it[dp]\.(?={_CAPITAL})", r"\g<0> .", text))
    text = "".join(f" {c}" if unicodedata.combining(c) else c for c in unicodedata.normalize("NFC", text.lower()))
    for pattern, replace in _RULES:
        text = pattern.sub(replace, text)
    return _tidy(text)
