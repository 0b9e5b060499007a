"""Polish text as it is spoken: lower case, numbers, dates and abbreviations written out."""
import re
import unicodedata
from collections.abc import Callable, Iterable

from num2words import num2words

# The only characters that are dropped (quotation marks, apostrophes, invisible characters) or replaced.
TABLE = str.maketrans(dict.fromkeys("\"'`„”“‟«»‹›‘’‚‛\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
                      | dict.fromkeys("()[]{}", " ") | dict.fromkeys("‐‑‒–—―−", "-")
                      | {"…": "...", "+": " plus ", "=": " równa się ", "&": " i ", "§": " § "})

ABBREVIATIONS = {
    "cd.": "ciąg dalszy", "dr": "doktor", "ds.": "do spraw", "fax": "faks", "gen.": "generał",
    "hab.": "habilitowany", "inż.": "inżynier", "itd.": "i tak dalej", "itp.": "i tym podobne", "jw.": "jak wyżej",
    "ks.": "ksiądz", "m.in.": "między innymi", "m.st.": "miasta stołecznego", "mgr": "magister", "n.e.": "naszej ery",
    "np.": "na przykład", "nt.": "na temat", "p.n.e.": "przed naszą erą", "p.o.": "pełniący obowiązki",
    "płk": "pułkownik", "pn.": "pod nazwą", "prof.": "profesor", "pt.": "pod tytułem",
    "sp.z o.o.": "spółka z ograniczoną odpowiedzialnością", "św.": "święty", "tel./fax": "telefon i faks",
    "tj.": "to jest", "tzn.": "to znaczy", "tzw.": "tak zwany", "wew.": "wewnętrzny", "wg": "według",
    "ww.": "wyżej wymieniony", "zob.": "zobacz"}


def _forms(table: dict[str, str]) -> dict[str, list[str]]:
    return {word: forms.split(", ") for word, forms in table.items()}


# Nominative, genitive, locative, instrumental; CASE chooses by the word before.
INFLECTED = _forms({
    "al.": "aleja, alei, alei, aleją", "art.": "artykuł, artykułu, artykule, artykułem",
    "br.": "bieżącego roku, bieżącego roku, bieżącym roku, bieżącym rokiem", "dn.": "dnia, dnia, dniu, dniem",
    "gm.": "gmina, gminy, gminie, gminą", "lit.": "litera, litery, literze, literą",
    "nr": "numer, numeru, numerze, numerem",
    "nr tel.": "numer telefonu, numeru telefonu, numer telefonu, numerem telefonu",
    "pl.": "plac, placu, placu, placem", "pok.": "pokój, pokoju, pokoju, pokojem",
    "pow.": "powiat, powiatu, powiecie, powiatem", "poz.": "pozycja, pozycji, pozycji, pozycją",
    "rozdz.": "rozdział, rozdziału, rozdziale, rozdziałem", "str.": "strona, strony, stronie, stroną",
    "tab.": "tabela, tabeli, tabeli, tabelą", "tel.": "telefon, telefonu, telefon, telefonem",
    "ub.": "ubiegłego, ubiegłego, ubiegłym, ubiegłym",
    "ub.r.": "ubiegłego roku, ubiegłego roku, ubiegłym roku, ubiegłym rokiem", "ul.": "ulica, ulicy, ulicy, ulicą",
    "woj.": "województwo, województwa, województwie, województwem",
    "§": "paragraf, paragrafu, paragrafie, paragrafem"})
INFLECTED["b.r."] = INFLECTED["br."]
# Only before a number: elsewhere they are words (par, rys, ust), units or abbreviations of something else. One class
# has a rule of its own (kl. 3 is trzecia klasa), so that kl. stands here for several.
BEFORE_NUMBER = _forms({
    "kl.": "klasy, klas, klasach, klasami", "kom.": "komórka, komórki, komórkę, komórką",
    "lok.": "lokal, lokalu, lokalu, lokalem", "m.": "mieszkanie, mieszkania, mieszkaniu, mieszkaniem",
    "par.": "paragraf, paragrafu, paragrafie, paragrafem", "pkt": "punkt, punktu, punkcie, punktem",
    "pow.": "powierzchnia, powierzchni, powierzchni, powierzchnią", "rys.": "rysunek, rysunku, rysunku, rysunkiem",
    "s.": "strona, strony, stronie, stroną", "t.": "tom, tomu, tomie, tomem",
    "tel.kom.": "telefon komórkowy, telefonu komórkowego, telefon komórkowy, telefonem komórkowym",
    "ust.": "ustęp, ustępu, ustępie, ustępem"})
ESTATE = _forms({"os.": "osiedle, osiedla, osiedlu, osiedlem"})  # but 5 os. is five people
# The form that a word asks of the noun after it; 4 is the accusative.
CASE = {word: case for case, words in enumerate((
    "bez, dla, do, koło, mocy, myśl, obok, od, podstawie, u, uczennica, uczeń, uczniowie, uczniów, według, z, ze",
    "na, o, po, przy, w, we", "między, nad, pod, przed, za, zgodnie z", "porównaj, przez, zobacz"), 1)
    for word in words.split(", ")}
# Nominative, genitive, accusative.
DAYS = {short: forms for shorts, forms in _forms({
    "pn pon": "poniedziałek, poniedziałku, poniedziałek", "wt": "wtorek, wtorku, wtorek", "śr": "środa, środy, środę",
    "czw": "czwartek, czwartku, czwartek", "pt": "piątek, piątku, piątek", "sob": "sobota, soboty, sobotę",
    "nd ndz niedz": "niedziela, niedzieli, niedzielę"}).items() for short in shorts.split()}

# Forms for 1, for 2 to 4, for 5 and more (also the genitive plural), and the genitive singular, after a fraction.
UNITS = _forms({
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
    "os": "osoba, osoby, osób, osoby", "pkt": "punkt, punkty, punktów, punktu",
    "proc": "procent, procent, procent, procent",
    "s": "sekunda, sekundy, sekund, sekundy", "sek": "sekunda, sekundy, sekund, sekundy",
    "szt": "sztuka, sztuki, sztuk, sztuki", "t": "tona, tony, ton, tony",
    "tys": "tysiąc, tysiące, tysięcy, tysiąca", "zł": "złoty, złote, złotych, złotego"})
UNITS["°c"] = [f"{form} celsjusza" for form in UNITS["°"]]
UNITS["km/h"] = [f"{form} na godzinę" for form in UNITS["km"]]
AMBIGUOUS = {"g", "godz", "h", "ha", "l", "m", "min", "os", "pkt", "s", "t"}  # a unit only where a number stands before

# Nouns after which 1 is "jedna" and 2 is "dwie"; units know it by their own ending.
FEMININE = set("""córka córki godzina godziny kobieta kobiety książka książki lekcja lekcje łyżka łyżki minuta minuty
    noc noce osoba osoby sekunda sekundy siostra siostry strona strony szklanka szklanki tona tony""".split())
MONTHS = "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia".split()
# What an ordinal ends in before these nouns.
ORDINAL_ENDING = {noun: ending for ending, nouns in {
    "a": "klasa edycja rocznica", "ą": "klasę klasą edycję rocznicę stronę", "e": "piętro miejsce",
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


def _telephone(m: re.Match) -> str:
    """Group by group; more than three digits together in threes, then in pairs."""
    def read(group: re.Match) -> str:
        digits = group[0]
        threes = len(digits) - 2 * (-len(digits) % 3) if len(digits) > 3 else 3
        return " ".join(map(_spell, re.findall(".{1,3}", digits[:threes]) + re.findall("..", digits[threes:])))
    return re.sub("[0-9]+", read, re.sub(r"(?<=[0-9])[./-](?=[0-9])|(?:(?<=plus 48)|(?<=0048))(?=[0-9])", " ", m[0]))


def _first_date(m: re.Match) -> str:
    """The first of two days of a month: 5 i 6 maja, 5-7 maja, od 5 do 7 maja."""
    first = _ordinal(m[2], "ego")
    return f"{m[1] or ''}{first}{m[3]}" if m[3] in (" i ", " oraz ") else f"od {first} do "


def _opening_hours(m: re.Match) -> str:
    """In digits again, with the words from which the rule for times knows the cases."""
    first, last = (f"{hour}:{minutes or '00'}" for hour, minutes in (m.group(2, 3), m.group(4, 5)))
    return f"{'w godzinach ' if m[1] else ''}od {first} do {last}"


def _days(m: re.Match) -> str:
    """Short days of the week. Alone, pn., pt. and śr. are days only after a preposition or before a date or a time."""
    before, days = m["before"] or "", m["days"]
    if not m["hours"] and (days in DAYS or days in ("pn.", "pt.", "śr.") and not (before or m["time"])):
        return m[0]
    spoken = re.sub(rf"({_DAY_NAME})\.? ?- ?({_DAY_NAME})\.?", lambda r: f"od {DAYS[r[1]][1]} do {DAYS[r[2]][1]}", days)
    before = "" if spoken.startswith("od ") else before
    case = (1 if before in ("do ", "od ", "z ") else 2) if before else 0
    spoken = re.sub(rf"(?<!\w)({_DAY_NAME})(?!\w)\.?", lambda day: DAYS[day[1]][case], spoken)
    return before + spoken + (" godz." if m["hours"] else "") + _full_stop(days, m)


def _full_stop(abbreviation: str, m: re.Match) -> str:
    """The dot of an abbreviation that ends the text is a full stop too."""
    return "." if abbreviation.endswith(".") and m.end() == len(m.string) else ""


def _closed(abbreviation: str) -> str:
    """As it stands in the tables: p. o. is p.o."""
    return re.sub(r"\. (?=\w)", ".", abbreviation)


def _inflect(forms: list[str], before: str | None) -> str:
    case = CASE.get((before or "").rstrip(), 0)
    if case < 4:
        return forms[case]
    return forms[3][:-1] + "ę" if forms[3].endswith("ą") else forms[0]      # accusative


def _inflected(table: dict[str, list[str]], ahead: str) -> tuple[str, Callable[[re.Match], str]]:
    """The rule that writes out the abbreviations of a table, where `ahead` follows, in the case of the word before."""
    return rf"{_BEFORE}(?<![\w.])({_any(table)}){ahead}", lambda m: (
        m[1] or "") + _inflect(table[_closed(m[2])], m[1]) + _full_stop(m[2], m)


def _any(words: Iterable[str]) -> str:
    """Any of the words, the longest first; a dot inside one may have a space after it."""
    return "|".join(re.sub(r"\\\.(?=\w)", r"\\. ?", re.escape(word)) for word in sorted(words, key=len, reverse=True))


_CAPITAL = " [A-ZĄĆĘŁŃÓŚŹŻ]"
_NUMBER = r"[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?:,[0-9]+)?|[0-9]+(?:[.,][0-9]+)?"
_OF = r"((?<!\w)(?:około|od|do|bez|dla|oprócz|powierzchni|powyżej|poniżej) )?"
_DAY, _MONTH, _YEAR = r"(?<![0-9.,:])(0?[1-9]|[12][0-9]|3[01])", r"(0?[1-9]|1[0-2])", r"([1-9][0-9]{3})(?![0-9])"
_R = r"(?:roku(?!\w)|r\.(?!$)|r(?!\w))"
_UNIT = r"((?:godz|min|os|proc|sek|szt|tys)\.(?!$)|{})(?!\w)"
_BEFORE = rf"((?<!\w)(?:{_any(CASE)}) )?"
_DAY_NAME = rf"(?:{_any(DAYS)})"
_HOUR = r"([01]?[0-9]|2[0-4])(?:[:.]([0-5][0-9]))?"
_WEEK = (rf"(?P<before>(?<!\w)(?:co|do|na|od|we?|z) )?(?<![\w.])(?P<days>{_DAY_NAME}\.?"
         rf"(?:(?:,? (?:i |lub |oraz )?| ?- ?){_DAY_NAME}\.?)*)(?!\w|-[^\W\d])"
         rf"(?=(?P<hours> {_HOUR} ?- ?{_HOUR}(?![0-9]|\.[0-9]| (?:{_any(MONTHS)})))|"
         rf"(?P<time>,? [0-9]{{1,2}}(?:[:.][0-9]{{2}}|(?:-[0-9]{{1,2}})?\.? (?:{_any(MONTHS)})))|)")
_OPENING = (rf"(?<!o )(?<![\w.,:-])(?:(?:(w )|od )?godz\. (?:od )?|(?:od )?(?=[0-9]+:[0-9]+ ?- ?[0-9]+:))"
            rf"{_HOUR}(?: ?- ?| do ){_HOUR}(?![0-9]|[.,:][0-9])")
_FLAT = (rf"((?<!\w)(?:(?:ulic|alej|alei|plac)\w*|os\.) [^.,;:!?]*[0-9](?: [a-z])?) m "
         rf"(?=[0-9]+(?![0-9]| ?(?:{_any(UNITS)})(?!\w)))")
# Telephone numbers of nine digits, of seven, of other countries, and any before a pause.
_NINE = r"(?:(?:plus |00 ?)?48[ ./-]?|0[ -]?)?[0-9](?:[ ./-]?[0-9]){8}(?![0-9])"
_SEVEN = r"[0-9]{3}[ ./-]?[0-9]{2}[ ./-]?[0-9]{2}(?![0-9])"
_ABROAD = r"plus [1-9](?:[ ./-]?[0-9]){9,13}(?![0-9])"
_SHORT = r"[0-9]{2,}(?:[ -][0-9]{2,3})*(?= ?(?:$|[,.;!?](?![0-9])|wewn))"
_TELEPHONE = (rf"(?:(?<!\w)(?:telefon|komórk|faks|infolini)\w*(?: komórkow\w+| i faks)?(?:(?: [^\W\d]+){{0,2}}:)? "
              rf"(?:{_NINE}|{_SEVEN}|{_ABROAD}|{_SHORT})|(?<!\w)(?:numer\w*|(?:za)?dzwo\w+)(?: pod)?:? {_NINE}|"
              rf"(?<!\w)(?<![0-9] )(?=plus |0048)(?:{_NINE}|{_ABROAD}))(?:(?:,| lub| albo| oraz| i) {_NINE})*")
# Each rule sees what the ones before it left; the last ones take whatever digits remain.
_RULES: list[tuple[re.Pattern, Callable[[re.Match], str]]] = [(re.compile(rule), replace) for rule, replace in (
    (_WEEK, _days),
    (rf"(?<![\w.])({_any(ABBREVIATIONS)})(?!\w|-[^\W\d])", lambda m: ABBREVIATIONS[_closed(m[1])] + _full_stop(m[1], m)),
    (rf"(?<!\w)por\. (?={_any(INFLECTED | BEFORE_NUMBER)})", lambda m: "porównaj "),
    (r"(?<!\w)tel(?=:? (?:plus )?[0-9])", lambda m: "tel."),
    (r"(?<!\w)w dn\. (?=(?:od )?[0-9]{1,2} ?(?:-|i|oraz|do) ?[0-9])", lambda m: "w dniach "),
    (r"(?<!\w)na (dn\.|nr)(?= [0-9])", lambda m: "na dzień" if m[1] == "dn." else "na numer"),
    (r"(?<=[0-9] )kl\. (?=[0-9])", lambda m: "klatka "),
    (rf"{_BEFORE}(?<!\w)kl\. ([1-9][0-9]?)(?![0-9]| ?-|[.,:/][0-9])",
     lambda m: f"{m[1] or ''}{m[2]}. {_inflect(['klasa', 'klasy', 'klasie', 'klasą'], m[1])}"),
    (r"(?<=[0-9] m)\.(?= [0-9]+ ?[cm]m(?!\w))", lambda m: ""),
    _inflected(BEFORE_NUMBER, r"(?=:? (?:plus )?[0-9])"), _inflected(INFLECTED, r"(?!\w)"),
    (_FLAT, lambda m: f"{m[1]} mieszkanie "),
    (_TELEPHONE, _telephone),
    (r"(?<!\w)ok\. (?=[0-9])", lambda m: "około "),
    (rf"((?<!\w)od )?{_DAY}\.?( ?- ?| do | i | oraz )(?={_DAY}(?:\.{_MONTH}\.{_YEAR}|\.? (?:{_any(MONTHS)})(?!\w)))",
     _first_date),
    (_OPENING, _opening_hours),
    (rf"(?:(?<=dni[au] )|(?<=dzień )){_DAY}\.{_MONTH}(?![0-9]|[.,][0-9])",
     lambda m: _date(m[1], MONTHS[int(m[2]) - 1], None)),
    (rf"{_DAY}\.{_MONTH}\.{_YEAR}(?: {_R})?", lambda m: _date(m[1], MONTHS[int(m[2]) - 1], m[3])),
    (rf"(?<![0-9]){_YEAR}-{_MONTH}-(0[1-9]|[12][0-9]|3[01])(?![0-9])(?: {_R})?",
     lambda m: _date(m[3], MONTHS[int(m[2]) - 1], m[1])),
    (rf"{_DAY}\.? ({_any(MONTHS)})(?!\w)(?: {_YEAR}(?![.,][0-9])(?: {_R})?)?", lambda m: _date(m[1], m[2], m[3])),
    (rf"((?<!\w)(?:w|po|przed) )?(?<![0-9.,])([1-9][0-9]{{2,3}}) {_R}", _year),
    (rf"((?<!\w)(?:po|w) )?(?<!\w)(roku?|r\.) {_YEAR}(?![.,][0-9])", lambda m: "".join((
        m[1] or "", m[2].replace(".", "oku"), " ", _ordinal(m[3], "y" if m[2] == "rok" else "ym" if m[1] else "ego")))),
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
    _inflected(ESTATE, r"(?!\w)"),
    (rf"{_OF}({_NUMBER})(?= ?(\w+)?)", lambda m: (m[1] or "") + _cardinal(
        m[2], m[3] in FEMININE and (m[2] == "1" or m[3][-1] != "a"), bool(m[1]))),
    (rf"(?<!\w){_UNIT.format(_any(set(UNITS) - AMBIGUOUS))}", lambda m: UNITS[m[1].rstrip('.')][2]))]


def _tidy(text: str) -> str:
    return re.sub(r" +(?=[,.?!:;])", "", " ".join(text.split()))


def normalise(text: str) -> str:
    """The sentence as it is spoken: what the synthesiser reads and `lib.data.text.encode` indexes. Idempotent.

    Composes (NFC), lowers case, collapses whitespace, applies TABLE, and writes out abbreviations, dates, years,
    times, ordinals, amounts with a unit and plain numbers in Polish. Characters that it does not know stay, for
    `encode` to report. Limits: cardinals stand in the nominative, or in the genitive after około, od, do, bez, dla,
    oprócz, powierzchni, powyżej, poniżej, with no form for groups of men (pięciu panów); "jedna" and "dwie" stand
    before feminine units and the nouns in FEMININE alone, "jedno" nowhere; ordinals agree with the nouns in
    ORDINAL_ENDING, else are masculine; abbreviated nouns take their case from the word right before them, if CASE
    knows it, and a cardinal after them (artykuł pięć); titles, tzw. and ww. stand in the masculine nominative; pt.,
    pn. and śr. are days only where `_days` sees a reason; im. is imienia before two capitals or before what looks like
    a genitive; a telephone number needs a word (telefon, faks, numer, dzwoń) or a country code before it; hyphens
    between numbers stay, but for days, dates and hours; 5-letni, p. (pan, pani, piętro), Roman numerals and acronyms
    are not understood; a dot between digits is a decimal comma, and a digit with a dot before a capital ends its
    sentence.
    """
    text = _tidy(unicodedata.normalize("NFC", text).translate(TABLE))
    text = re.sub(r"(?<=[0-9])(?=[^\W\d_])|(?<=[^\W\d_])(?=[0-9])|(?<=[^\W\d_]\.)(?=[0-9])", " ", text)
    text = re.sub(rf"(?<!\w)im\.(?=(?: dr| \w+\.)*{_CAPITAL}(?:\w*{_CAPITAL}|\w+(?:a|ki|kiego|kiej)(?!\w)))",
                  "imienia", text)
    text = re.sub(rf"(?<=[0-9])(?=\.{_CAPITAL})", " ", re.sub(rf"(?<!\w)it[dp]\.(?={_CAPITAL})", r"\g<0> .", text))
    text = "".join(f" {c}" if unicodedata.combining(c) else c for c in unicodedata.normalize("NFC", text.lower()))
    for pattern, replace in _RULES:
        text = pattern.sub(replace, text)
    return _tidy(text)
