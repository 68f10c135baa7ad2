"""The part of the Common Expression Language (cel-spec, langdef.md) that a resource's rules are likely to use.

parse() refuses what it does not know, so a rule that passes is one that was understood; evaluate() says what it gives.
"""

import re

TOKEN = re.compile(r"""\s*(?:
    (?P<number>\d+\.\d+|\d+u?) | (?P<raw>[rR](?:"[^"]*"|'[^']*')) | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<name>[A-Za-z_]\w*) | (?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}]) )""", re.VERBOSE)  # fmt: skip
LEVELS = [["||"], ["&&"], ["==", "!=", "<", "<=", ">", ">=", "in"], ["+", "-"], ["*", "/", "%"]]
MACROS = {"all", "exists", "exists_one", "filter", "map"}
FUNCTIONS = {
    "size": len, "string": str, "int": int, "startsWith": str.startswith, "endsWith": str.endswith,
    "contains": lambda text, part: part in text, "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "split": str.split, "lowerAscii": str.lower, "replace": str.replace, "indexOf": str.find,
}  # fmt: skip


class CelError(Exception):
    """An invalid or unsupported rule."""


def tokens(text):
    found, at = [], 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if not match:
            raise CelError(f"{text!r}: nothing begins with {text[at:at + 10]!r}")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found + [("end", "")]


class Parser:
    def __init__(self, text):
        self.text, self.tokens, self.at = text, tokens(text), 0

    def peek(self):
        return self.tokens[self.at][1] if self.tokens[self.at][0] in ("sign", "name") else ""

    def take(self, wanted=None):
        kind, value = self.tokens[self.at]
        if wanted and (value != wanted or kind not in ("sign", "name")):
            raise CelError(f"{self.text!r}: {wanted!r} is missing before {value!r}")
        self.at += 1
        return kind, value

    def ternary(self):
        condition = self.binary(0)
        if self.peek() != "?":
            return condition
        self.take("?")
        yes = self.binary(0)
        self.take(":")
        return ("if", condition, yes, self.ternary())

    def binary(self, level):
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in LEVELS[level]:
            left = (self.take()[1], left, self.binary(level + 1))
        return left

    def unary(self):
        if self.peek() in ("!", "-"):
            return ("not" if self.take()[1] == "!" else "minus", self.unary())
        return self.member()

    def member(self):
        value = self.primary()
        while self.peek() in (".", "["):
            if self.take()[1] == "[":
                value = ("index", value, self.ternary())
                self.take("]")
                continue
            kind, name = self.take()
            if kind != "name":
                raise CelError(f"{self.text!r}: {name!r} is no field's name")
            value = self.call(name, value) if self.peek() == "(" else ("field", value, name)
        return value

    def call(self, name, target=None):
        arguments = self.several("(", ")")
        if target and name in MACROS:
            if len(arguments) != 2 or arguments[0][0] != "name":
                raise CelError(f"{self.text!r}: {name} wants a variable and an expression")
            return ("macro", name, target, arguments[0][1], arguments[1])
        if not target and name == "has":
            if len(arguments) != 1 or arguments[0][0] != "field":
                raise CelError(f"{self.text!r}: has() wants a field")
            return ("has", *arguments[0][1:])
        if name not in FUNCTIONS:
            raise CelError(f"{self.text!r}: the function {name} is not known here")
        return ("call", name, ([target] if target else []) + arguments)

    def several(self, first, last):
        self.take(first)
        items = []
        while self.peek() != last:
            items.append(self.ternary())
            if self.peek() != last:
                self.take(",")
        self.take(last)
        return items

    def primary(self):
        if self.peek() == "(":
            self.take()
            value = self.ternary()
            self.take(")")
            return value
        if self.peek() == "[":
            return ("list", self.several("[", "]"))
        kind, value = self.take()
        if kind == "number":
            return ("value", float(value) if "." in value else int(value.rstrip("u")))
        if kind == "raw":
            return ("value", value[2:-1])
        if kind == "string":
            return ("value", value[1:-1].encode().decode("unicode_escape"))
        if kind != "name":
            raise CelError(f"{self.text!r}: unexpected {value or 'end'!r}")
        if value in ("true", "false", "null"):
            return ("value", {"true": True, "false": False, "null": None}[value])
        return self.call(value) if self.peek() == "(" else ("name", value)


def parse(text):
    parser = Parser(text)
    tree = parser.ternary()
    if parser.tokens[parser.at][0] != "end":
        raise CelError(f"{text!r}: does not end at {parser.tokens[parser.at][1]!r}")
    return tree


def evaluate(tree, names):
    kind, *parts = tree
    value = lambda part, more={}: evaluate(part, {**names, **more})
    if kind == "value":
        return parts[0]
    if kind == "name":
        if parts[0] not in names:
            raise CelError(f"nothing is called {parts[0]}")
        return names[parts[0]]
    if kind == "if":
        return value(parts[1]) if value(parts[0]) else value(parts[2])
    if kind in ("||", "&&"):
        return (value(parts[0]) or value(parts[1])) if kind == "||" else (value(parts[0]) and value(parts[1]))
    if kind in ("not", "minus"):
        return not value(parts[0]) if kind == "not" else -value(parts[0])
    if kind == "has":
        return parts[1] in value(parts[0])
    if kind in ("field", "index"):
        return value(parts[0])[parts[1] if kind == "field" else value(parts[1])]
    if kind == "list":
        return [value(item) for item in parts[0]]
    if kind == "call":
        return FUNCTIONS[parts[0]](*[value(argument) for argument in parts[1]])
    if kind == "macro":
        name, over, variable, body = parts
        items = value(over)
        given = [value(body, {variable: item}) for item in items]
        return {"all": lambda: all(given), "exists": lambda: any(given), "exists_one": lambda: given.count(True) == 1, "map": lambda: given,
                "filter": lambda: [item for item, keep in zip(items, given) if keep]}[name]()  # fmt: skip
    left, right = value(parts[0]), value(parts[1])
    return {
        "==": lambda: left == right, "!=": lambda: left != right, "<": lambda: left < right, "<=": lambda: left <= right, ">": lambda: left > right,
        ">=": lambda: left >= right, "in": lambda: left in right, "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right,
        "/": lambda: left // right, "%": lambda: left % right,
    }[kind]()  # fmt: skip
