"""Runnable programs are found in a page, with the output that it claims."""

from __future__ import annotations

from tests.docs.blocks import Block, runnable

PAGE = """# A page

```python
shown_only()
```

```python run
print("one")
```

It prints:

```text output
one
```

````markdown
```python run
inside_another_fence()
```
````

```python run
print("two")
```
"""


def test_only_marked_programs_are_found_each_with_its_output() -> None:
    assert list(runnable(PAGE)) == [
        Block(8, 'print("one")\n', "one\n"),
        Block(24, 'print("two")\n', None),
    ]
