"""``lake dataset`` and ``lake policy``: documents are checked with line and column before they count."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Shell
from tests.world import CONTRACT, MOODS, POLICY

Write = Callable[[str, str], str]
HOLDS = "- {user: stu, purpose: study, dataset: events, expect: allow, sensitivity: 2, hides: [flag], sees: [title]}\n"
FAILS = "- {user: none, purpose: study, dataset: events, expect: allow}\n"


def test_a_contract_in_force_is_not_added_twice(shell: Shell, write: Write) -> None:
    """The same text again is no error and no new version."""
    ran = shell("dataset", "add", write("c.yaml", CONTRACT), "--json")
    assert (ran.code, ran.document["added"], ran.document["version"]) == (0, False, 1)
    assert "was in force already" in shell("dataset", "add", write("c.yaml", CONTRACT)).out


def test_a_new_version_must_follow_the_one_in_force(shell: Shell, write: Write) -> None:
    """Versions go up by one, types stay, sensitivities do not fall; a version that follows is in force."""
    for old, new in (
        ("version: 1", "version: 3"),
        ("title: Moods", "title: Other"),
        ("{type: string", "{type: int32"),
    ):
        assert shell("dataset", "add", write("m.yaml", MOODS.replace(old, new))).code == 2
    second = MOODS.replace("version: 1", "version: 2").replace("title: Moods", "title: Feelings")
    assert shell("dataset", "add", write("m.yaml", second), "--json").document["version"] == 2
    listed = {row["dataset"]: row["version"] for row in shell("dataset", "list", "--json").document}
    assert listed == {"events": 1, "moods": 2}
    assert shell("dataset", "show", "moods", "--json").document["title"] == "Feelings"
    assert "Feelings" in shell("dataset", "show", "moods").out


def test_an_invalid_contract_is_refused_with_line_and_column(shell: Shell, write: Write) -> None:
    """File, line and column lead to the mistake; so do they in the document."""
    path = write("c.yaml", MOODS.replace("purposes:", "porpoises:").lstrip())
    ran = shell("dataset", "add", path, "--json")
    assert ran.code == 2
    assert f"{path}:5:1:" in ran.err
    assert (ran.document["error"], ran.document["line"], ran.document["column"]) == ("document", 5, 1)
    assert shell("dataset", "add", "/nonexistent").code == 2
    assert shell("dataset", "show", "nothing").code == 1


def test_check_changes_nothing(shell: Shell, write: Write) -> None:
    """A valid policy is counted, an invalid one refused, and the one in force stays."""
    before = shell("status", "--json").document["policy"]
    ran = shell("policy", "check", write("p.yaml", POLICY + "  new: {roles: [all]}\n"), "--json")
    assert (ran.code, ran.document["users"]) == (0, 15)
    path = write("bad.yaml", POLICY.replace("dataset: moods", "dataset: foods"))
    ran = shell("policy", "check", path)
    assert ran.code == 2
    assert f"{path}:5:" in ran.err
    assert shell("policy", "apply", path).code == 2
    assert shell("status", "--json").document["policy"] == before


def test_an_applied_policy_counts_at_once(shell: Shell, write: Write) -> None:
    """Who is granted something may read from then on; applying it again is no change."""
    assert shell.query("SELECT n FROM events", user="new").code == 3
    path = write("p.yaml", POLICY + "  new: {roles: [all]}\n")
    assert shell("policy", "apply", path, "--json").document["applied"] is True
    assert shell.query("SELECT n FROM events", user="new").code == 0
    assert shell("policy", "apply", path, "--json").document["applied"] is False


def test_explain_says_what_a_user_sees_and_why(shell: Shell, write: Write) -> None:
    """Masks, filter and the policy's line are named, for the policy in force or another."""
    ran = shell("policy", "explain", "--user", "stu")
    for words in ("stu holds: student", "title: ", "n >= -10", "hidden columns: ", "because: line "):
        assert words in ran.out
    (grant,) = shell("policy", "explain", "--user", "stu", "--json").document["grants"]
    assert "flag" in grant["hidden columns"].split(", ")
    assert "flag" not in grant["columns"].split(", ")
    assert "does not name this user" in shell("policy", "explain", "--user", "stranger").out
    path = write("p.yaml", POLICY + "  stranger: {roles: [all]}\n")
    assert shell("policy", "explain", "--user", "stranger", "--policy", path, "--json").document["roles"] == ["all"]


def test_expectations_that_fail_exit_with_1(shell: Shell, write: Write) -> None:
    """Each is shown with its line; all that hold exit with 0."""
    ran = shell("policy", "test", write("ok.yaml", HOLDS), "--json")
    assert (ran.code, ran.document["passed"], ran.document["failed"]) == (0, 1, 0)
    ran = shell("policy", "test", write("bad.yaml", HOLDS + FAILS), "--json")
    assert (ran.code, ran.document["passed"], ran.document["failed"]) == (1, 1, 1)
    assert [row["line"] for row in ran.document["expectations"] if row["result"] == "FAILED"] == [2]
    other = write("p.yaml", POLICY.replace("none: {roles: []}", "none: {roles: [student]}"))
    assert shell("policy", "test", write("bad.yaml", HOLDS + FAILS), "--policy", other).code == 0


def test_expectations_that_are_not_understood_are_a_usage_error(shell: Shell, write: Write) -> None:
    """An unknown key or an empty table is refused, never taken as passed."""
    for text in ("[]", FAILS.replace("expect: allow", "expect: maybe"), FAILS.replace("user", "usr")):
        assert shell("policy", "test", write("e.yaml", text)).code == 2


WIDER = POLICY.replace("  none: {roles: []}", "  none: {roles: [student]}")
NARROWER = POLICY.replace("  stu: {roles: [student]}", "  stu: {roles: [student], deny: [{dataset: events}]}")


def test_check_counts_denies_and_groups(shell: Shell, write: Write) -> None:
    """Every kind of what a policy holds."""
    document = shell(
        "policy", "check", write("p.yaml", NARROWER + "groups: {staff: {roles: [own]}}\n"), "--json"
    ).document
    assert (document["denies"], document["groups"], document["users"]) == (1, 1, 14)


def test_explain_takes_what_an_identity_provider_says(shell: Shell, write: Write) -> None:
    """Groups, employee and attributes; a deny is told with its line."""
    path = write("p.yaml", NARROWER + "groups: {staff: {roles: [own, mine]}}\n")
    claims = ("--group", "staff", "--employee", "EMP-ADA-7741", "--attribute", "app=Mail-QX")
    document = shell("policy", "explain", "--user", "zoe", *claims, "--policy", path, "--json").document
    assert document["roles"] == ["own", "mine"]
    assert document["grants"][0]["employees"] == "1 named"
    ran = shell("policy", "explain", "--user", "stu", "--policy", path)
    assert "nothing is left of what is granted" in ran.out
    assert "denied: events, for every purpose: everything (line " in ran.out
    assert shell("policy", "explain", "--user", "zoe", "--attribute", "app").code == 2


def test_a_difference_fails_only_if_it_widens_and_that_is_asked(shell: Shell, write: Write) -> None:
    """0 for no change and for less; 1 for more, with the option alone."""
    same, wider, narrower = (write(f"{n}.yaml", text) for n, text in enumerate((POLICY, WIDER, NARROWER)))
    ran = shell("policy", "diff", "current", same, "--fail-on-widening")
    assert (ran.code, ran.out.strip()) == (0, "no change")
    assert shell("policy", "diff", "current", wider).code == 0
    ran = shell("policy", "diff", "current", wider, "--fail-on-widening")
    assert ran.code == 1
    assert "gains: none: events for study, as student" in ran.out
    assert "2 employees (2 gained, 0 lost), 0 -> 6 files" in ran.out
    ran = shell("policy", "diff", wider, "current", "--fail-on-widening", "--json")
    assert (ran.code, ran.document["widened"]) == (0, False)
    assert {one["effect"] for one in ran.document["differences"]} == {"loses"}
    assert shell("policy", "diff", "current", narrower, "--fail-on-widening").code == 0


def test_policies_are_compared_under_contracts_without_a_lake(shell: Shell, write: Write) -> None:
    """No key and no lake; then there is no policy in force to compare with."""
    old, new = write("old.yaml", POLICY), write("new.yaml", WIDER)
    contracts = ["--contract", write("c.yaml", CONTRACT), "--contract", write("m.yaml", MOODS)]
    ran = shell.bare("policy", "diff", old, new, *contracts, "--fail-on-widening", "--json")
    assert ran.code == 1
    assert {one["who"] for one in ran.document["differences"]} == {"none"}
    assert ran.document["differences"][0]["employees"][0]["after"] == "all"
    assert shell.bare("policy", "diff", "current", new, *contracts).code == 2
    bad = write("bad.yaml", POLICY.replace("dataset: moods", "dataset: foods"))
    assert f"{bad}:5:" in shell.bare("policy", "diff", old, bad, *contracts).err


def test_exposure_names_who_can_read(shell: Shell, write: Write) -> None:
    """Users, conditions and forms; a limit or a list of names makes it fail."""
    ask = ("exposure", "--employee", "EMP-BEN-7742", "--dss", "2")
    document = shell(*ask, "--json").document
    assert {"vera-canary", "stu", "olga", "dual"} <= set(document["who"])
    assert "coco" not in document["who"]
    assert shell(*ask, "--max", str(len(document["who"]))).code == 0
    ran = shell(*ask, "--max", str(len(document["who"]) - 1), "--json")
    assert (ran.code, ran.document["exceeding"]) == (1, sorted(document["who"]))
    assert shell(*ask, "--allow", *document["who"]).code == 0
    ran = shell(*ask, "--allow", *[name for name in document["who"] if name != "stu"])
    assert ran.code == 1
    assert "more than they should: stu" in ran.out
    assert shell(*ask, "--allow").code == 1
    path = write("p.yaml", NARROWER)
    assert "stu" not in shell(*ask, "--policy", path, "--json").document["who"]


def test_exposure_of_nobody_is_an_error_and_of_somebody_is_recorded(shell: Shell) -> None:
    """The report appears among the entries, without the employee."""
    ran = shell("exposure", "--employee", "EMP-NOBODY", "--dss", "4")
    assert (ran.code, "nothing under this employee id" in ran.err) == (2, True)
    assert shell("exposure", "--employee", "EMP-BEN-7742", "--dss", "5").code == 2
    assert shell("exposure", "--employee", "EMP-BEN-7742", "--dss", "4", "--max", "-1").code == 2
    assert shell("exposure", "--employee", "EMP-BEN-7742", "--dss", "4").code == 0
    rows = shell("audit", "show", "--type", "audit.read", "--json").document
    assert [row["report"] for row in rows].count("exposure") == 1
    assert "EMP-BEN-7742" not in str(rows)
