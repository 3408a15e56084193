"""Count what makes a source tree easy or hard to read: `python -m tools.measure_source [FOLDER …]`.

Each figure is explained in FIGURES. They are a guide, not a law: a test checks only the last
three, which have an exact meaning (`tests/project/test_law.py`).
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIGURES = {
    "one_word_private": "private functions whose name is one word, in % of the private functions",
    "nodes_a_line": "syntax nodes for each line of code",
    "comprehensions": "comprehensions and generator expressions for each 100 lines of code",
    "used_once": "private functions that their file uses once, in % of all functions",
    "comments": "comments for each 100 lines of the file",
    "many_parameters": "functions with more than five parameters",
    "untyped": "parameters and fields of type Any that hold a value of a class of this project",
    "shared_class_names": "class names that occur more than once",
}
MOST_PARAMETERS = 5
# Names of values of our own classes, so that `Any` for them can be seen.
OURS = {"classifier": "Classifier", "former": "Classifier", "cut": "Cut", "cuts": "Cut"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file, parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def classes(self) -> list[str]:
        return [node.name for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    def code_lines(self) -> int:
        """Lines that hold code: neither blank nor comment nor docstring."""
        documented: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        count = 0
        for number, line in enumerate(self.text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#") and number not in documented:
                count += 1
        return count

    def comments(self) -> int:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)


def parse(folder: Path) -> list[SourceFile]:
    """Every Python file below a folder."""
    files = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text()
        files.append(SourceFile(path, text, ast.parse(text)))
    return files


def measure(files: list[SourceFile]) -> dict[str, float]:
    """Every figure of FIGURES, by name."""
    nodes: Counter[str] = Counter()
    functions, private, one_word, used_once, many = 0, 0, 0, 0, 0
    for file in files:
        uses = _count_uses(file.tree)
        for node in ast.walk(file.tree):
            nodes["all"] += 1
            nodes["comprehensions"] += isinstance(
                node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
            )
        for function in file.functions:
            functions += 1
            many += count_parameters(function) > MOST_PARAMETERS
            if _is_private(function.name):
                private += 1
                one_word += "_" not in function.name.strip("_")
                used_once += uses[function.name] == 1
    code = sum(file.code_lines() for file in files)
    lines = sum(len(file.text.splitlines()) for file in files)
    comments = sum(file.comments() for file in files)
    return {
        "one_word_private": 100 * one_word / max(1, private),
        "nodes_a_line": nodes["all"] / code,
        "comprehensions": 100 * nodes["comprehensions"] / code,
        "used_once": 100 * used_once / functions,
        "comments": 100 * comments / lines,
        "many_parameters": many,
        "untyped": len(list(find_untyped(files))),
        "shared_class_names": len(find_shared_class_names(files)),
    }


def count_parameters(function: Function) -> int:
    """The parameters that a caller sees: neither `self` nor `cls`."""
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def find_untyped(files: list[SourceFile]) -> Iterator[str]:
    """`file:line name` for each parameter or field of type Any whose name says that it is ours."""
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            else:
                continue
            annotation = ast.unparse(node.annotation) if node.annotation else ""
            if name in OURS and "Any" in annotation:
                yield f"{file.path}:{node.lineno} {name}: {annotation}, expected {OURS[name]}"


def find_shared_class_names(files: list[SourceFile]) -> dict[str, list[Path]]:
    """Each class name that occurs more than once, with its files."""
    places: dict[str, list[Path]] = {}
    for file in files:
        for name in file.classes:
            places.setdefault(name.strip("_"), []).append(file.path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _count_uses(tree: ast.Module) -> Counter[str]:
    uses: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            uses[node.id] += 1
        elif isinstance(node, ast.Attribute):
            uses[node.attr] += 1
    return uses


def main(folders: list[str]) -> None:
    """Print one column for each folder."""
    columns = [measure(parse(Path(folder))) for folder in folders]
    print(f"{'':20}" + "".join(f"{folder:>14}" for folder in folders))
    for name, meaning in FIGURES.items():
        figures = "".join(f"{column[name]:14.1f}" for column in columns)
        print(f"{name:20}{figures}   {meaning}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["job"])
