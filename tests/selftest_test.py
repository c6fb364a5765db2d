"""qdq selftest and bench beside a ggml library: selftest_test.py PATH/TO/qdq PATH/TO/fake_ggml [unittest's options]."""

import json
import os
import subprocess
import sys
import unittest


def run(how, *arguments):
    environment = dict(os.environ, QDQ_FAKE_GGML=how)
    result = subprocess.run([QDQ, *map(str, arguments)], capture_output=True, text=True, timeout=600, env=environment)
    return result


def selftest(how, *formats):
    return run(how, "selftest", "-d", "cpu", "--threads", 2, "-f", ",".join(formats), "--ggml", GGML, "--elements", 500000)


class TestSelftest(unittest.TestCase):
    def test_what_is_equal(self):
        result = selftest("", "q8_0")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"ok +dialect +\d+ operations .*, [\d,]+ operands, all equal to plain C\n")
        self.assertRegex(result.stdout, r"ok +q8_0 +[\d,]+ blocks in 1\d proofs, all equal to plain C( and to the scalar lane)?\n")
        self.assertRegex(result.stdout, r"ok +sums +error and sensitivity of random tensors: 90 sums, all equal")
        self.assertRegex(result.stdout, r"q8_0 +random +no +[\d,]+ +0 *\n")
        self.assertRegex(result.stdout, r"Held on samples: [\d,]+ blocks compared in \d+ s; none differs\.\n$")
        self.assertNotIn("fused", result.stdout)

    def test_advice_fits_the_cause(self):
        result = selftest("fused", "q4_0")
        self.assertEqual(result.returncode, 1)
        self.assertIn("compiled with fused multiply-add", result.stdout)
        result = selftest("other", "q8_0")
        self.assertEqual(result.returncode, 1)
        self.assertIn("A tenth of the blocks or more differ in q8_0: not by rounding", result.stdout)
        self.assertNotIn("fused", result.stdout)
        self.assertRegex(result.stdout, r"FAIL  q8_0     random: block [\d,]+ differs from the ggml library's\n"
                                        r"      input           [0-9a-f]{8} ")
        self.assertTrue(result.stdout.rstrip().endswith("what differs is named above."))

    def test_a_library_that_ends_is_told(self):
        result = selftest("ends", "q8_0")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("--    q8_0     adversarial: ggml's own assertion failed\n", result.stdout)
        self.assertRegex(result.stdout, r"q8_0 +decoded +no +[\d,]+ +0 *\n")

    def test_json(self):
        result = run("other", "selftest", "-d", "cpu", "--threads", 2, "-f", "q8_0,tq1_0", "--ggml", GGML, "--json", "-")
        got = json.loads(result.stdout)
        self.assertEqual((got["schema"], got["mode"], got["passed"], got["ggml_revision"]),
                         ("qdq.selftest/1", "quick", False, None))
        self.assertEqual({p["proof"] for p in got["proofs"] if "format" not in p}, {"operation", "sums"})
        blocks = [p for p in got["proofs"] if "format" in p]
        self.assertEqual(got["blocks"], sum(p["blocks"] for p in blocks) + sum(r.get("blocks", 0) for r in got["ggml"]))
        self.assertEqual({p["differing"] for p in blocks}, {0})
        random = got["ggml"][0]
        self.assertEqual((random["format"], random["proof"], random["importance"]), ("q8_0", "random", False))
        self.assertEqual(len(random["first"]["input"].split()), 32)
        self.assertEqual(len(bytes.fromhex(random["first"]["packed"])), 34)
        self.assertNotEqual(random["first"]["packed"], random["first"]["expected_packed"])
        self.assertEqual(got["ggml"][-1], {"format": "tq1_0", "lacks": "the library has no dequantize_row_tq1_0"})

    def test_no_library(self):
        for command in ("selftest", "bench"):
            result = run("", command, "-d", "cpu", "-f", "q4_0", "--ggml", "/nonexistent/libggml.so")
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn("nonexistent", result.stderr)


class TestBench(unittest.TestCase):
    def test_beside_a_ggml(self):
        result = run("", "bench", "-d", "cpu", "--threads", 1, "-f", "q4_0,tq1_0", "--size", 1, "--seconds", 0.01, "--op", "all",
                     "--ggml", GGML, "--json", "-")
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [r for r in json.loads(result.stdout)["results"] if "format" in r]
        self.assertEqual(len(rows), 2 * 2 * 5)
        for r in rows:
            beside = r["format"] == "q4_0" and r["operation"] in ("roundtrip", "quantize", "dequantize")
            self.assertEqual("of_ggml_per_core" in r, beside, r)
            self.assertGreater(r["of_copy"], 0)


if __name__ == "__main__":
    QDQ, GGML = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
