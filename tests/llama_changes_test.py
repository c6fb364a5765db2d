"""tools/llama_changes.py: llama_changes_test.py. On checkouts that are made here."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tools", "llama_changes.py")

QUANTS = """
#include "x.h"
#define QK_THINGS 32 /* a size */
static const int8_t kvalues_a[4] = { 1, 2, 3, 4 };

// a search
static float make_thing(int n, const float * x) {
    for (int i = 0; i < n; ++i) { if (x[i] == '}') return 1.0f; }
#if QK_THINGS == 64
    if (n > 2) {
#else
    if (n > 3) {
#endif
        return 2.0f;
    }
    return 0.0f;
}

void quantize_row_a(const float * x, void * y);

void quantize_row_a(const float * x, void * y) { make_thing(4, x); }
"""

RULES = """
namespace {
enum class tensor_category { ONE, TWO };
}
static bool tensor_allows_quantization(const std::string & name) {
    return name.find("norm") == std::string::npos;
}
void thing::method(int a) : b(a) { }
"""


class Changes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="qdq-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.watch = os.path.join(self.folder, "watch.txt")
        self.put("ggml/src/ggml-quants.c", QUANTS)
        self.put("src/llama-quant.cpp", RULES)
        self.assertEqual(self.run_tool("--record", "one (of tests)").returncode, 0)

    def put(self, path, text, root="."):
        path = os.path.join(self.folder, root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def run_tool(self, *arguments, root="."):
        return subprocess.run([sys.executable, TOOL, "--watch", self.watch, *arguments, os.path.join(self.folder, root)],
                              capture_output=True, text=True)

    def told(self, **options):
        result = self.run_tool(**options)
        self.assertEqual(result.stderr, "")
        lines = [line.split() for line in result.stdout.splitlines()]
        self.assertEqual(result.returncode, 1 if len(lines) > 1 else 0)
        self.assertEqual(lines[-1][-3:], ["one", "(of", "tests)"])
        return [(line[0], line[2]) for line in lines[:-1]]

    def test_what_is_followed(self):
        with open(self.watch, encoding="utf-8") as file:
            names = {line.split(" ", 2)[2].strip() for line in file if not line.startswith("#")}
        self.assertEqual(names, {"QK_THINGS", "make_thing", "quantize_row_a", "enum tensor_category",
                                 "tensor_allows_quantization", "thing::method"})

    def test_comments_and_space_are_no_change(self):
        self.put("ggml/src/ggml-quants.c", QUANTS.replace("// a search", "/* another\n text { */").replace("    ", "\t"))
        self.assertEqual(self.told(), [])

    def test_changes(self):
        self.put("ggml/src/ggml-quants.c", QUANTS.replace("return 2.0f", "return 2.5f") +
                 "void quantize_row_b(const float * x) { }\n")
        self.put("src/llama-quant.cpp", RULES.replace("void thing::method(int a) : b(a) { }", ""))
        self.assertEqual(self.told(), [("changed", "make_thing"), ("new", "quantize_row_b"), ("gone", "thing::method")])

    def test_a_text_that_changes_is_a_change(self):
        self.put("src/llama-quant.cpp", RULES.replace('"norm"', '"n orm"'))
        self.assertEqual(self.told(), [("changed", "tensor_allows_quantization")])

    def test_a_package_has_it_inside(self):
        self.put("ggml/src/ggml-quants.c", QUANTS, "package/vendor/llama.cpp")
        self.put("src/llama-quant.cpp", RULES, "package/vendor/llama.cpp")
        self.assertEqual(self.told(root="package"), [])

    def test_another_folder(self):
        result = self.run_tool(root="none")
        self.assertEqual(result.returncode, 2)
        self.assertIn("is no llama.cpp", result.stderr)

    def test_the_projects_own_list(self):
        path = os.path.join(os.path.dirname(TOOL), "llama_watch.txt")
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file]
        names = {line[2] for line in lines if line[0] != "#"}
        self.assertLessEqual({"quantize_row_iq1_m_impl", "make_qkx2_quants", "dequantize_row_q4_K", "tensor_allows_quantization",
                              "tensor_type_fallback", "common_imatrix_load"}, names)
        self.assertEqual(lines[1][:2], ["#", "version"])


if __name__ == "__main__":
    unittest.main()
