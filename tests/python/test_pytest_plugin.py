"""The pytest plugin, in sessions of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

import gupstress
from conftest import Ended, in_a_shell

pytest_plugins = ["pytester"]

SMALL = 'driver="sim", threads=2, cpus=2, pins=200, seed=7'

FAILING = f"""
    import pytest

    @pytest.mark.gupstress(policy="busted-accept", {SMALL})
    def test_it(gupstress_run):
        gupstress_run().assert_safe()
"""


def reproducing(text: str) -> str:
    """Return the command that a failure shows."""
    (line,) = re.findall(r"^reproduce: (.*)$", text, re.MULTILINE)
    return str(line)


def test_a_passing_test_shows_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import gupstress, pytest

        @pytest.mark.gupstress(policy="bounded", {SMALL})
        def test_it(gupstress_run):
            result = gupstress_run()
            assert isinstance(result, gupstress.RunResult)
            assert result.results[0].pages.pinned >= 200
            result.assert_live()
        """
    )
    ended = pytester.runpytest("--strict-markers", "-rA")
    ended.assert_outcomes(passed=1)
    ended.stdout.no_fnmatch_line("*reproduce:*")


def test_the_marker_is_registered(pytester: pytest.Pytester) -> None:
    pytester.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.gupstress(profile, *"])


def test_a_failure_shows_table_seed_and_a_command_that_fails_alike(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(FAILING)
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(
        [
            "E *not safe:",
            "E * busted-accept: * calls pinned what must stay movable",
            "*-- gupstress --*",
            "policy * live * safe * check *",
            "busted-accept * live * violated * held *",
            "policy * pins/s *",
            "settings: profile=* seed=7",
            "reproduce: gupstress run *--seed 7*",
            "gupstress: FAILURE: busted-accept violated (*",
        ]
    )
    again = in_a_shell(reproducing(ended.stdout.str()))
    assert again.returncode == 1
    for line in again.stdout.splitlines():
        # The command that the command prints says what the marker left out.
        if not line.startswith("reproduce: "):
            assert line.rstrip() in map(str.rstrip, ended.outlines)


def test_a_drawn_seed_is_shown_and_gives_the_same_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(gupstress_run):
            result = gupstress_run(policy="bounded", driver="sim", threads=2, cpus=2, pins=200)
            print("calls:", result.results[0].calls.issued)
            print("seed:", result.settings.seed)
            assert False
        """
    )
    first, second = (pytester.runpytest().stdout.str() for _ in range(2))
    seeds = [re.findall(r"^seed: (\d+)$", text, re.MULTILINE)[0] for text in (first, second)]
    assert seeds[0] != seeds[1]
    for text, seed in zip((first, second), seeds, strict=True):
        line = reproducing(text)
        assert f"--seed {seed}" in line
        found = json.loads(in_a_shell(f"{line} --format json").stdout)
        assert f"calls: {found['results'][0]['calls']['issued']}\n" in text


def test_what_was_asserted_is_part_of_the_command(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        pytestmark = pytest.mark.gupstress(
            policy=["none", "cooperative"], {SMALL}, threshold="calls.stuck==0"
        )

        def test_needless(gupstress_run):
            gupstress_run(threads=16, pins=10_000).assert_no_spurious()

        def test_threshold(gupstress_run):
            gupstress_run().assert_threshold("calls.stuck==0", "cooperative:sweeps.max<0")
        """
    )
    for test, words in (
        ("needless", "--threshold calls.stuck==0 --threshold calls.failed_spurious==0"),
        ("threshold", "--threshold calls.stuck==0 --threshold 'cooperative:sweeps.max<0'"),
    ):
        text = pytester.runpytest("-k", test).stdout.str()
        assert "missed" in text
        assert "gupstress: FAILURE: " in text
        line = reproducing(text)
        assert line.endswith(words)
        # Without what was asserted there would have been no finding.
        assert in_a_shell(line.replace(words, "")).returncode == 0
        assert in_a_shell(line).returncode == 1


def test_a_missed_threshold_of_the_run_fails_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.gupstress(policy="none", {SMALL}, threshold="calls.stuck==1")
        def test_missed(gupstress_run):
            gupstress_run()

        @pytest.mark.gupstress(policy="none", {SMALL}, threshold="calls.stuck==0")
        def test_met(gupstress_run):
            gupstress_run()
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    assert "threshold calls.stuck==1 missed: observed 0" in result.stdout.str()
    assert len(re.findall(r"^calls.stuck==1 +none ", result.stdout.str(), re.MULTILINE)) == 1
    assert in_a_shell(reproducing(result.stdout.str())).returncode == 1


def test_every_run_of_a_failed_test_is_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.gupstress({SMALL})
        def test_it(gupstress_run):
            gupstress_run(policy="bounded")
            gupstress_run(policy="none")
            assert False
        """
    )
    ended = pytester.runpytest()
    ended.stdout.fnmatch_lines(["reproduce: * --policy bounded*", "reproduce: * --policy none*"])


def test_a_failure_in_a_fixture_is_shown_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture
        def safe(gupstress_run):
            gupstress_run().assert_safe()

        @pytest.mark.gupstress(policy="busted-accept", {SMALL})
        def test_it(safe):
            pass
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["busted-accept *violated*", "reproduce: gupstress run *"])


def test_arguments_come_from_call_options_marker_in_this_order(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.gupstress("steady", policy="bounded", {SMALL}, timeout="50s")
        class TestIt:
            @pytest.mark.gupstress(threads=3)
            def test_near(self, gupstress_run):
                self.show(gupstress_run())

            def test_given(self, gupstress_run):
                self.show(gupstress_run("zero-page", pins=5, timeout=9))

            def show(self, result):
                s = result.settings
                print("found", s.profile, s.threads, s.pins, f"{{s.timeout_s:g}}")
        """
    )
    plain = pytester.runpytest("-s").stdout
    plain.fnmatch_lines(["*found steady 3 200 50", "*found zero-page 2 5 9"])
    asked = pytester.runpytest("-s", "--gupstress-pins=70", "--gupstress-timeout=20s").stdout
    asked.fnmatch_lines(["*found steady 3 70 20", "*found zero-page 2 5 9"])


def test_a_machine_starts_from_the_marker_and_a_failure_shows_its_steps(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gupstress(kernel="linux-6.12.43", cpus=2, threads=9)
        def test_it(gupstress_machine):
            m = gupstress_machine(policy="bounded")
            a = m.map(1, "shmem")
            m.touch(a, cpu=1)
            assert not m.pin(a).ok
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(
        [
            "*-- gupstress --*",
            "<machine: 2 cpus, kernel linux-6.12.43, policy bounded>, steps of its last call:",
            "<* cpu 0: pin:sweep>",
            "<* kworker/1: *>",
        ]
    )


def test_a_wrong_type_fails_the_test_with_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gupstress(policy=[3], threshold=None, sets=5, threads=4.0)
        def test_it(gupstress_run):
            gupstress_run()
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(["*ConfigError: sets: 5 is not a dict*threads: 4.0 is not*"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gupstress-pins=x"], "'x' is not a whole number; nearest: 1"),
        (["--gupstress-pins=0"], "0 is below 1; nearest: 1"),
        (["--gupstress-pins=1.5"], "'1.5' is not a whole number; nearest: 1"),
        (["--gupstress-timeout=soon"], '"soon" is not a length of time'),
        (
            ["--gupstress-timeout=none"],
            '"none" is not a length of time such as "50us" or "2s"; nearest: 2s',
        ),
        (["--gupstress-timeout=0"], "0s is below 1ms; nearest: 1ms"),
        (["--gupstress-timeout=1us"], "1us is below 1ms; nearest: 1ms"),
        (["--gupstress-json=missing/r.json"], "missing/r.json: cannot be written: No such file"),
        (["--gupstress-json=."], "--gupstress-json .: cannot be written: Is a directory"),
    ],
)
def test_bad_options_are_refused_before_any_test(
    pytester: pytest.Pytester, options: list[str], said: str
) -> None:
    pytester.makepyfile(FAILING)
    ended = pytester.runpytest(*options)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert said in ended.stderr.str()
    assert "test_it" not in ended.stdout.str()


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("profil='steady'", "no argument 'profil'; nearest: profile"),
        ("'steady', 'bounded'", "'bounded' has no name"),
    ],
)
def test_bad_markers_are_refused_before_any_test(
    pytester: pytest.Pytester, mark: str, said: str
) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        def test_first():
            print("ran")

        @pytest.mark.gupstress({mark})
        def test_it():
            pass
        """
    )
    ended = pytester.runpytest("-s")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert f"test_it: gupstress mark: {said}" in ended.stderr.str()
    assert "ran" not in ended.outlines


SUITE = f"""
    import pytest

    pytestmark = pytest.mark.gupstress(policy="bounded", {SMALL})

    def test_good(gupstress_run):
        gupstress_run()
        gupstress_run()

    def test_bad(gupstress_run):
        gupstress_run(policy="busted-accept").assert_safe()

    @pytest.mark.xfail
    def test_expected(gupstress_run):
        gupstress_run()
        assert False

    def test_marked_only():
        pass

    def test_machine(gupstress_machine):
        gupstress_machine(policy="bounded")
"""


@pytest.mark.parametrize("options", [(), ("-n2", "--gupstress-xdist")])
def test_results_are_kept_in_one_file(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    pytester.makepyfile(test_suite=SUITE)
    pytester.runpytest("--gupstress-json=all.json", *options)
    text = Path("all.json").read_text()
    jsonschema.validate(json.loads(text), gupstress.schema("pytest"))
    found = json.loads(text)
    assert found["schema"] == "gupstress.pytest/1"
    cases = {case["test"]: case for case in found["tests"]}
    assert {name: (case["outcome"], len(case["runs"])) for name, case in cases.items()} == {
        "test_suite.py::test_good": ("passed", 2),
        "test_suite.py::test_bad": ("failed", 1),
        "test_suite.py::test_expected": ("skipped", 1),
    }
    (run,) = cases["test_suite.py::test_bad"]["runs"]
    jsonschema.validate(run, gupstress.schema())
    assert run["results"][0]["policy"] == "busted-accept"


def test_a_session_that_runs_nothing_leaves_an_empty_list(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest("--gupstress-json=all.json").assert_outcomes(passed=1)
    assert json.loads(Path("all.json").read_text())["tests"] == []


def test_a_file_that_cannot_be_written_after_all_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pathlib

        def test_it():
            os.rmdir("there")
        """
    )
    Path("there").mkdir()
    ended = pytester.runpytest("--gupstress-json=there/all.json")
    assert ended.ret not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    said = "--gupstress-json there/all.json: cannot be written: No such file or directory"
    assert said in ended.stderr.str()


def test_under_xdist_stress_waits_for_another_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE.replace('driver="sim"', 'driver="os"'))
    ended = pytester.runpytest("-n2", "-rs")
    ended.assert_outcomes(passed=1, skipped=4)
    ended.stdout.fnmatch_lines(["SKIPPED *: a stress test needs the machine for itself*"])


def test_without_workers_xdist_changes_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    pytester.runpytest("-n0").assert_outcomes(passed=3, failed=1, xfailed=1)


def test_under_xdist_stress_runs_if_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE.replace('driver="sim"', 'driver="os"'))
    ended = pytester.runpytest("-n2", "--gupstress-xdist")
    ended.assert_outcomes(passed=3, failed=1, xfailed=1)
    ended.stdout.fnmatch_lines(["busted-accept *violated*", "reproduce: gupstress run *"])


def test_junit_has_the_finding_and_the_command(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING)
    ended = pytester.runpytest("--junitxml=junit.xml")
    (case,) = ET.parse("junit.xml").getroot().iter("testcase")
    failure, property_ = case.find("failure"), case.find("properties/property")
    assert failure is not None
    assert "calls pinned what must stay movable" in failure.attrib["message"]
    assert property_ is not None
    assert property_.attrib == {"name": "gupstress", "value": reproducing(ended.stdout.str())}


def test_a_test_that_times_out_says_what_it_ran(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        # On a busy host they alone may take longer than the test has.
        import gupstress.api, gupstress.running.reproduce

        def test_it(gupstress_run):
            gupstress_run(policy="bounded", threads=2, pins=2**60, timeout="100s")

        def test_next():
            pass
        """
    )
    ended = pytester.runpytest_subprocess("--timeout=1", "--timeout-method=signal")
    ended.assert_outcomes(failed=1, passed=1)
    ended.stdout.fnmatch_lines(
        ["E *Timeout*", "reproduce: gupstress run *--seed *", "gupstress: no result: seed=*"]
    )


def test_ctrl_c_ends_the_session_and_not_the_run_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import gupstress

        run = gupstress.run

        def interrupted(**settings):
            return run(**settings).model_copy(update={{"status": "interrupted"}})

        def test_it(gupstress_run, monkeypatch):
            monkeypatch.setattr(gupstress, "run", interrupted)
            gupstress_run(policy="bounded", {SMALL})

        def test_next():
            pass
        """
    )
    ended = pytester.runpytest_subprocess()
    assert ended.ret == pytest.ExitCode.INTERRUPTED
    ended.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    ended.stdout.no_fnmatch_line("*passed*")


def test_a_bad_argument_fails_the_test_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import gupstress, pytest

        def test_refused(gupstress_run):
            with pytest.raises(gupstress.ConfigError, match="nearest: bounded"):
                gupstress_run(policy="bonded")

        def test_shown(gupstress_run):
            gupstress_run(policy="bonded")
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(passed=1, failed=1)
    ended.stdout.fnmatch_lines(["*ConfigError*nearest: bounded*", "gupstress: no result: seed=*"])


def test_pytest_starts_without_anything_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"pydantic", "rich", "psutil", "tabulate", "click", "plotly", "scipy"}
            assert "gupstress.pytest_plugin" in sys.modules
            assert not {"gupstress._core", *heavy} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_no_success_stands_under_a_failed_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.gupstress(policy="bounded", {SMALL})
        def test_it(gupstress_run):
            assert gupstress_run() is None
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=1)
    ended.stdout.no_fnmatch_line("*gupstress: SUCCESS*")
    ended.stdout.fnmatch_lines(
        ["reproduce: gupstress run *", "gupstress: the run itself has no finding: *"]
    )


def test_a_machine_shows_the_ends_of_its_last_call_and_its_script(
    pytester: pytest.Pytester, cli: Callable[..., Ended]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gupstress(policy="bounded", kernel="linux-6.12.43")
        def test_it(gupstress_machine):
            m = gupstress_machine()
            a = m.map(64, "anon")
            m.touch(a, cpu=1)
            m.hold(a[3])
            assert m.pin(a, cpu=0).ok
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=1)
    out = ended.stdout.str()
    told = out[out.index("-- gupstress --") : out.index("short test summary")].splitlines()
    assert len([line for line in told if line.startswith("<")]) == 1 + 2 * 20
    assert len([line for line in told if re.match("… [0-9]+ more steps …", line)]) == 1
    # It fits a screen, and is a scenario that comes to the same.
    assert len(told) < 70
    start = told.index("# kernel linux-6.12.43, policy bounded")
    Path("again.toml").write_text("\n".join(told[start : told.index("]", start) + 1]))
    code, found, _ = cli("litmus", "again.toml", "--kernel", "linux-6.12.43")
    assert code == 3
    assert "ENOMEM" in found


def test_a_seed_of_the_command_line_is_every_runs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.gupstress(policy="bounded", {SMALL})
        def test_it(gupstress_run):
            assert gupstress_run().settings.seed == 12
            assert gupstress_run(seed=3).settings.seed == 3
        """
    )
    pytester.runpytest("--gupstress-seed", "12").assert_outcomes(passed=1)


def test_the_configuration_file_counts_less_than_marker_and_command_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\ngupstress_pins = 300\ngupstress_seed = 5\ngupstress_json = a.json")
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.gupstress(driver="sim", threads=2, cpus=2, policy="bounded")
        def test_it(gupstress_run):
            settings = gupstress_run().settings
            assert (settings.pins, settings.seed) == (int(os.environ.get("PINS", "300")), 5)

        @pytest.mark.gupstress(driver="sim", threads=2, cpus=2, policy="bounded", seed=6)
        def test_marked(gupstress_run):
            assert gupstress_run().settings.seed == 6
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)
    assert len(json.loads(Path("a.json").read_text())["tests"]) == 2
    monkeypatch.setenv("PINS", "200")
    pytester.runpytest("--gupstress-pins", "200").assert_outcomes(passed=2)


def test_a_mistake_in_the_configuration_file_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ngupstress_pins = many")
    ended = pytester.runpytest()
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines(["ERROR: gupstress_pins: 'many' is not a whole number; nearest: *"])


SHARED = f"""
    import pytest

    @pytest.fixture(scope="module")
    def result(gupstress_runner):
        return gupstress_runner("same-range", policy="busted-accept", {SMALL})

    def test_one(result):
        assert result.results[0].calls.issued

    def test_two(result):
        result.assert_safe()

    def test_three():
        assert False
"""


def test_several_tests_look_at_one_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SHARED)
    ended = pytester.runpytest("--gupstress-json", "all.json")
    ended.assert_outcomes(passed=1, failed=2)
    out = ended.stdout.str()
    assert out.count("reproduce: gupstress run ") == 1
    assert "gupstress: FAILURE: busted-accept violated (" in out
    (test,) = json.loads(Path("all.json").read_text())["tests"]
    assert test["test"].endswith("::test_one")


def test_under_xdist_the_simulator_runs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        pytestmark = pytest.mark.gupstress(policy="bounded", threads=2, cpus=2, pins=200)

        @pytest.mark.gupstress(driver="sim")
        def test_simulated(gupstress_run):
            gupstress_run()

        def test_simulated_by_the_call(gupstress_run):
            gupstress_run(driver="sim")

        def test_threads(gupstress_run):
            gupstress_run()

        @pytest.fixture(scope="module")
        def shared(gupstress_runner):
            return gupstress_runner(policy="bounded", {SMALL})

        def test_shared(shared):
            shared.assert_live()
        """
    )
    ended = pytester.runpytest("-n", "2", "-rs")
    ended.assert_outcomes(passed=3, skipped=1)
    ended.stdout.fnmatch_lines(["*a stress test needs the machine for itself*"])


def test_a_mistake_is_shown_where_the_test_makes_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import gupstress, pytest

        def test_direct():
            gupstress.run("contend")

        def test_fixture(gupstress_run):
            gupstress_run("contend")

        @pytest.fixture
        def made():
            return gupstress.Machine(cpus=0)

        def test_of_a_fixture(made):
            pass
        """
    )
    ended = pytester.runpytest()
    ended.assert_outcomes(failed=2, errors=1)
    out = ended.stdout.str()
    assert "python/gupstress/" not in out
    for line in ("ConfigError: ", "nearest: contended", 'gupstress.run("contend")'):
        assert line in out


def test_a_session_is_compared_with_an_earlier_one(pytester: pytest.Pytester) -> None:
    source = f"""
        import os, pytest

        @pytest.mark.gupstress(driver="sim", threads=2, cpus=2, pins=400, seed=7, repeat=5)
        def test_it(gupstress_run):
            gupstress_run(policy="bounded", sets={{"step_delay": os.environ["DELAY"]}})

        @pytest.mark.gupstress(policy="none", {SMALL})
        def test_new(gupstress_run):
            if os.environ["DELAY"] != "0ns":
                gupstress_run()
    """
    pytester.makepyfile(source)
    with pytest.MonkeyPatch.context() as now:
        now.setenv("DELAY", "0ns")
        pytester.runpytest("--gupstress-json", "base.json").assert_outcomes(passed=2)
        same = pytester.runpytest("--gupstress-compare", "base.json")
        assert same.ret == pytest.ExitCode.OK
        same.stdout.fnmatch_lines(["*= gupstress: compared with base.json =*", "SAME *::test_it"])
        now.setenv("DELAY", "1us")
        worse = pytester.runpytest("--gupstress-compare", "base.json")
        worse.assert_outcomes(passed=2)
        assert worse.ret == pytest.ExitCode.TESTS_FAILED
        worse.stdout.fnmatch_lines(
            [
                "REGRESSION *::test_it",
                "*pages_per_s *regression*",
                "NOT COMPARED *::test_new: 0 runs before, 1 now",
            ]
        )


def test_what_is_no_earlier_session_is_refused(pytester: pytest.Pytester) -> None:
    Path("base.json").write_text("{}")
    ended = pytester.runpytest("--gupstress-compare", "base.json")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines(["ERROR: --gupstress-compare base.json: not a result of gupstress*"])
