"""Human studies on the command line: what is refused. The rest is in tests/serve and tests/web."""
import os
import unittest

from support import Case


class Raters(Case):
    def test_refused(self):
        self.fails("raters", "init", "a", "-o", "s", line="an argument is missing")
        self.fails("raters", "init", "a", "b", line="where does the study go?")
        self.fails("raters", "init", "a", "b", "-o", "s", code=1, line="saelab features build")
        self.fails("raters", "init", "x=a", "b", "-o", "s", code=1, line="a: there is none")
        self.fails("raters", "init", "a", "b", "-o", "s", "--features", "0", line="features is '0'")
        self.assertFalse(os.path.exists(self.path("s")))

    def test_no_study(self):
        for verb in ("serve", "freeze", "analyse", "export"):
            self.fails("raters", verb, "nowhere", code=1, line="nowhere: no study there (expected a folder of `saelab raters init`)")


if __name__ == "__main__":
    unittest.main()
