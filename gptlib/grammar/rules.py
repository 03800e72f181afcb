"""From a grammar file to nodes.

One job: read the TOML file, check it, and build the nodes of `grammar_nodes`. In a file

    {rule}         stands for a rule, {Rule} for the same with its first letter capitalized,
    {hero.they}    for an attribute of a variable that a rule above has drawn,
    {thing.one}    for an attribute of an entry drawn from a table on the spot,
    [this|that]    for a choice, the commonest first; [3 this|1 that] gives weights instead,
    {swap hero x}  for a sentence of [sentences], told of the variables hero and x,
    /              for the end of a line, except in </.

Rules must not reach themselves. So every derivation ends, and the longest text is known.

A sentence is a rule with parameters: `takes = "a b: person, x: tool"` names them and the tables
they are drawn from; [classes] may give several tables one name. `gptlib.stories` explains what
else is said of a sentence there; a grammar only writes its text.

A grammar is one file, or a folder of files whose sections are read as if they stood in one.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from gptlib.errors import GrammarError
from gptlib.grammar.draws import Group, Table, zipf
from gptlib.grammar.nodes import Choice, Literal, Scope, Sequence, Show, Words

Names = dict[str, tuple[Group, int]]  # visible variables: the group they are drawn in, their slot


class Builder:
    """Builds the nodes of one grammar file. Whatever is not well formed is a GrammarError."""

    def __init__(self, source: dict[str, Any], name: str) -> None:
        self.source, self.name, self.slots = source, name, 0
        for section in ("genres", "tables", "classes", "rules", "sentences", "probes"):
            if not isinstance(source.get(section, {}), dict):
                self.refuse(f"{section} is {source[section]!r}, not a section [{section}]")
        self.tables = {
            title: self.table(title, spec) for title, spec in source.get("tables", {}).items()
        }
        self._built: dict[Any, Any] = {}
        self._cells: dict[tuple[str, str], list[Any]] = {}
        self._open: list[str] = []

    def refuse(self, what: str) -> NoReturn:
        """Raise the error of a grammar that is not well formed."""
        raise GrammarError(f"grammar {self.name}: {what}; mend the file under data/grammars")

    def genres(self) -> tuple[list[str], list[float]]:
        """The rules that write whole documents, and their weights."""
        genres = self.source.get("genres", {})
        if not genres or not all(isinstance(w, int) and w > 0 for w in genres.values()):
            self.refuse(f"[genres] is {genres}; it needs rules with whole weights, like tale = 2")
        return list(genres), [float(weight) for weight in genres.values()]

    def table(self, title: str, spec: Any) -> Table:
        """Read one table: the names of its columns, and rows that are cut at `|`."""
        if not (
            isinstance(spec, dict)
            and isinstance(spec.get("columns"), str)
            and texts(spec.get("rows"))
        ):
            self.refuse(f'table {title} needs columns = "a b" and rows = ["a1 | b1", …]')
        columns = spec["columns"].split()
        rows = [[cell.strip() for cell in split_options(row)] for row in spec["rows"]]
        for row in rows:
            if len(row) != len(columns):
                self.refuse(f"table {title} has the row {row}, but the columns {columns}")
        return Table(title, columns, rows)

    def asked(self) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
        """What probes ask for: (table, column) to (kind, nearest, farthest), in characters."""
        found: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
        for kind, spec in self.source.get("probes", {}).items():
            match spec:
                case {"distance": [int(near), int(far)]}:
                    shown = [tuple(name.split(".")) for name in spec.get("shows", [])]
                case _:
                    self.refuse(
                        f"probe {kind} is {spec!r}; it needs a distance = [nearest, farthest]"
                    )
            for name in shown:
                table = self.tables.get(name[0])
                if table is None or len(name) != 2 or name[1] not in table.columns:
                    self.refuse(f"probe {kind} shows {'.'.join(name)}, which no table has")
                if len(table.rows) % 2:
                    self.refuse(f"table {table.name} is asked in probes, so its rows must be pairs")
                found.setdefault(name, []).append((kind, near, far))
        return found

    def twins(self) -> dict[str, tuple[int, int, str, str]]:
        """Words that agree in the middle, where the start tells the end: "s-add-le l-add-er".

        Returns:
            for each word: where its end begins, the length of the middle, its end, the other end.
        """
        found = {}
        for line in self.source.get("probes", {}).get("spelling", {}).get("twins", []):
            match [word.split("-") for word in line.split()]:
                case [[a, middle, b], [c, same, d]] if middle == same:
                    found[a + middle + b] = (len(a + middle), len(middle), b, d)
                    found[c + middle + d] = (len(c + middle), len(middle), d, b)
                case _:
                    self.refuse(f"twins {line!r} are not two words like 's-add-le l-add-er'")
        return found

    def rule(self, name: str, names: Names) -> Any:
        """Build a rule as seen from a place where `names` are drawn."""
        if name in self._open:
            self.refuse(f"rule {name} reaches itself: {' > '.join([*self._open, name])}")
        key = (name, tuple((n, id(group), slot) for n, (group, slot) in names.items()))
        if key not in self._built:
            spec = self.source.get("rules", {}).get(name)
            if spec is None:
                self.refuse(f"{{{name}}} names no rule, table or variable in sight")
            self._open.append(name)
            self._built[key] = self._spec(spec, names)
            self._open.pop()
        return self._built[key]

    def _spec(self, spec: Any, names: Names) -> Any:
        match spec:
            case str():
                return self.text(fold(spec), names)
            case list() if texts(spec):
                return self.choice([fold(option) for option in spec], names)
            case {"draw": str(draw), "text": text}:
                groups, inner = self.draws(draw, names)
                return Scope(groups, self._spec(text, inner))
            case {"text": text}:
                return self._spec(text, names)
        self.refuse(f"rule {self._open[-1]} is {spec!r}: no text, options, or table with a text")

    def sentence(self, name: str, told_of: list[str], names: Names) -> Any:
        """Build a sentence told of variables in sight, one for each of its parameters."""
        spec = self.source.get("sentences", {}).get(name)
        if not (isinstance(spec, dict) and isinstance(spec.get("takes", ""), str)):
            self.refuse(f"{{{' '.join([name, *told_of])}}} calls no sentence of [sentences]")
        if name in self._open:
            self.refuse(f"sentence {name} reaches itself: {' > '.join([*self._open, name])}")
        takes = parameters(spec.get("takes", ""))
        if len(told_of) != len(takes):
            self.refuse(f"sentence {name} takes {list(takes)}, but is told of {told_of}")
        inner = {f" {n}": drawn for n, drawn in names.items()}  # out of sight; their slots are kept
        for (parameter, kind), variable in zip(takes.items(), told_of, strict=True):
            if variable not in names:
                self.refuse(f"sentence {name} is told of {variable}, which nobody has drawn")
            title = names[variable][0].table.name
            if title not in self.source.get("classes", {}).get(kind, kind).split():
                self.refuse(f"sentence {name} needs a {kind} as {parameter}, not a {title}")
            inner[parameter] = names[variable]
        self._open.append(name)
        built = self._spec(spec.get("text"), inner)
        self._open.pop()
        return built

    def draws(self, draw: str, names: Names) -> tuple[list[Group], Names]:
        """Read `hero rival: villager, gift: thing`; what stands before one colon differs."""
        groups, inner = [], dict(names)
        for clause in draw.split(","):
            variables, _, title = clause.partition(":")
            table = self.tables.get(title.strip())
            if table is None or not 1 <= len(variables.split()) <= len(table.rows):
                self.refuse(
                    f"draw = {draw!r} is not like 'hero rival: villager', from tables it has"
                )
            group = Group(table, [])
            for variable in variables.split():
                if variable in inner:
                    self.refuse(f"{variable} is drawn twice, one draw inside the other")
                group.slots.append(len(inner))
                inner[variable] = (group, len(inner))
            groups.append(group)
        self.slots = max(self.slots, len(inner))
        return groups, inner

    def text(self, raw: str, names: Names) -> Any:
        """Build a folded text with its references and choices."""
        parts, at = [], 0
        while at < len(raw):
            if raw[at] in "]}":
                self.refuse(f"{raw!r} closes what it did not open")
            if raw[at] in "{[":
                end = closing(raw, at)
                if end < 0:
                    self.refuse(f"{raw!r} does not close what it opens")
                inside = raw[at + 1 : end]
                build = self.reference if raw[at] == "{" else self.inline
                parts.append(build(inside, names))
                at = end + 1
            else:
                end = next((k for k in range(at, len(raw)) if raw[k] in "[]{}"), len(raw))
                parts.append(Literal(raw[at:end]))
                at = end
        return parts[0] if len(parts) == 1 else Sequence(parts) if parts else Literal("")

    def inline(self, raw: str, names: Names) -> Any:
        """Build `this|that`."""
        return self.choice(split_options(raw), names)

    def choice(self, options: list[str], names: Names) -> Any:
        """Build a choice from its folded options, with their weights if they give any."""
        weights = zipf(len(options))
        numbered = [m for m in (re.match(r"(\d+) ", option) for option in options) if m]
        if len(numbered) == len(options):
            weights = [float(m[1]) for m in numbered]
            options = [option[m.end() :] for option, m in zip(options, numbered, strict=True)]
        if numbered and (len(numbered) < len(options) or min(weights) <= 0):
            self.refuse(f"{options} need a weight each, 1 or more, or none at all")
        nodes = [self.text(option, names) for option in options]
        if all(isinstance(node, Literal) for node in nodes):
            return Words([node.text for node in nodes], weights)
        return Choice(nodes, weights)

    def reference(self, name: str, names: Names) -> Any:
        """Build `{rule}`, `{variable.attribute}` or `{table.attribute}`, capitalized or not."""
        if name[:1].isupper():
            return self.capitalize(self.reference(name[:1].lower() + name[1:], names))
        if " " in name or name in self.source.get("sentences", {}):
            head, *told_of = name.split()
            return self.sentence(head, told_of, names)
        owner, dot, column = name.partition(".")
        if not dot:
            return self.rule(name, names)
        group, slot = names.get(owner, (None, 0))
        table = group.table if group else self.tables.get(owner)
        if table is None or column not in table.columns:
            self.refuse(f"{{{name}}} names no attribute in sight")
        values = self.cells(table, column, names)
        if group:
            return Show(group, slot, column, values)
        if all(isinstance(value, Literal) for value in values):
            return Words([value.text for value in values], zipf(len(values)))
        return Choice(values, zipf(len(values)))

    def cells(self, table: Table, column: str, names: Names) -> list[Any]:
        """The nodes of a column; those of a column without references are built once."""
        key = (table.name, column)
        if key not in self._cells:
            cells = [row[table.columns.index(column)] for row in table.rows]
            values = [self.text(fold(cell), names) for cell in cells]
            if not all(isinstance(value, Literal) for value in values):
                return values
            self._cells[key] = values
        return self._cells[key]

    def capitalize(self, node: Any) -> Any:
        """A copy of `node` whose first letter is a capital, whatever it chooses."""
        if isinstance(node, Literal):
            return Literal(node.text[:1].upper() + node.text[1:])
        if isinstance(node, Words):
            return Words([text[:1].upper() + text[1:] for text in node.texts], node.weights.p)
        if isinstance(node, Choice):
            return Choice([self.capitalize(option) for option in node.options], node.weights.p)
        if isinstance(node, Scope):
            return Scope(node.groups, self.capitalize(node.body))
        if isinstance(node, Show):
            values = [self.capitalize(value) for value in node.values]
            return Show(node.group, node.slot, node.column, values)
        if node.parts[0].shape.nullable:
            self.refuse("a rule that is capitalized begins with something that may be empty")
        return Sequence([self.capitalize(node.parts[0]), *node.parts[1:]])


def texts(rows: Any) -> bool:
    """Whether this is a list of texts, at least one."""
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, str) for row in rows)


def fold(raw: str) -> str:
    """White space becomes one space, ` / ` becomes a line break."""
    return re.sub(r" ?(?<!<)/ ?", "\n", " ".join(raw.split()))


def parameters(takes: str) -> dict[str, str]:
    """Read `a b: person, x: tool` as parameters and what each must be, in order."""
    found = {}
    for clause in filter(str.strip, takes.split(",")):
        variables, _, kind = clause.partition(":")
        found |= dict.fromkeys(variables.split(), kind.strip())
    return found


def closing(raw: str, at: int) -> int:
    """The index of the bracket that closes the one at `at`, or -1."""
    depth = 0
    for k in range(at, len(raw)):
        depth += (raw[k] in "{[") - (raw[k] in "]}")
        if not depth:
            return k
    return -1


def split_options(raw: str) -> list[str]:
    """Cut at every `|` that is not inside brackets."""
    options, depth = [""], 0
    for c in raw:
        depth += (c in "{[") - (c in "]}")
        if c == "|" and not depth:
            options.append("")
        else:
            options[-1] += c
    return options


def read_source(path: Path) -> dict[str, Any]:
    """Read a grammar file, or a folder of them.

    Raises:
        GrammarError: a file is not TOML, or two files of a folder give one name twice.
    """
    if path.is_dir():
        return merged(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise GrammarError(f"{path.name} is not valid TOML: {error}; mend it there") from error


def merged(folder: Path) -> dict[str, Any]:
    """The sections of all files in a folder, by the files' names, as one source."""
    whole: dict[str, Any] = {}
    for path in sorted(folder.glob("*.toml")):
        for section, content in read_source(path).items():
            known = whole.setdefault(section, {})
            if twice := known.keys() & content.keys():
                raise GrammarError(
                    f"{path.name} gives {', '.join(sorted(twice))} in [{section}] a second time; "
                    "let one of the two have another name"
                )
            known |= content
    return whole
