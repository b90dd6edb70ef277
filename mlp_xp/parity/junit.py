"""The result of a parity check as JUnit XML, which CI services show as tests."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET


def junit_xml(record: Mapping[str, Any]) -> bytes:
    """Return a record of `report.json_record` as JUnit XML: one test per backend.

    A mismatch is a failure. A backend that raised an error, or was asked for and is not usable, is an error; any other
    that is not usable is skipped.
    """
    dtype = record["arguments"]["dtype"]
    suite = ET.Element("testsuite", name="mlp-xp parity", timestamp=record["when"])
    properties = ET.SubElement(suite, "properties")
    for name, value in {**record["versions"], "machine": record["machine"]}.items():
        ET.SubElement(properties, "property", name=_xml(name), value=_xml(value))

    def case(name: str, seconds: float | None = None) -> ET.Element:
        test = ET.SubElement(suite, "testcase", classname=f"parity.{dtype}", name=_xml(name))
        if seconds is not None:
            test.set("time", f"{seconds:.3f}")
        return test

    def outcome(test: ET.Element, kind: str, message: str, text: str = "") -> None:
        ET.SubElement(test, kind, message=_xml(message)).text = _xml(text or message)

    for each in record["backends"][1:]:
        test = case(each["backend"], each["seconds"])
        if each["amplified"]:
            text = f"compared with what rounding does to this training, up to step {each['compared_steps']}"
            ET.SubElement(test, "system-out").text = text
        if each["mismatches"]:
            outcome(test, "failure", each["mismatches"][0], "\n".join(each["mismatches"]))
    for each in record["failures"]:
        outcome(case(each["backend"]), "error", each["reason"])
    wanted = record["arguments"]["backends"]
    for name, reason in record["unusable"].items():
        outcome(case(name), "error" if name in wanted else "skipped", reason)
    for name, tag in {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        suite.set(name, str(len([*suite.iter(tag)])))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _xml(text: Any) -> str:
    """Return a text without the characters that XML cannot hold, which a library's message may have."""
    return "".join(c if c in "\t\n" or (c.isprintable() and not "\ud800" <= c <= "\udfff") else "?" for c in str(text))
