"""Human studies on the command line, from an index of features to an analysis, with simulated raters; and what is refused."""
import json
import os
import unittest

import raters_lab
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

    def lines(self, name):
        with open(self.path(name)) as f:
            return [json.loads(line) for line in f]

    def test_a_simulated_study(self):
        self.write("t.txt", raters_lab.sentences(60000))
        raters_lab.make(self.run_tool, "t.txt")
        init = ["raters", "init", "ours=plain", "other/features", "--features", "4", "--raters", "4", "--session", "4", "--catches", "3"]
        made = self.json(*init, "-o", "study", "--simulated", "--skill", "0.9", "--skill", "0.2", "--careless", "1")
        self.assertEqual([m["method"] for m in made["methods"]], ["ours", "other"])
        self.assertTrue(all(m["eligible"] >= 4 for m in made["methods"]) and made["simulated"])
        self.fails(*init, "-o", "many", "--features", "65", code=1, line="are wanted")
        self.fails(*init, "-o", "study", line="study")
        self.fails("raters", "analyse", "study", line="raters may still answer")
        self.assertTrue(self.run_tool("raters", "freeze", "study").stdout.startswith("SIMULATED"))
        self.fails("raters", "freeze", "study", line="frozen already")
        self.fails("raters", "serve", "study", line="nobody may answer any more")
        said = self.run_tool("raters", "analyse", "study").stdout.splitlines()
        self.assertTrue(len(said) > 15 and all(line.startswith("SIMULATED") for line in said))
        result = self.json("raters", "analyse", "study")
        self.assertEqual(result["status"], "SIMULATED")
        self.assertEqual(len(result["raters"]), 4)
        ours, other = result["tasks"]["intruder"]["methods"]
        self.assertTrue(ours["method"] == "ours" and ours["score"] > other["score"] and ours["features"] == 4)
        self.run_tool("raters", "export", "study", "--open-key")
        self.cards()

    def cards(self):
        """Cards and questions of a real index: what fires is marked where it says so, what does not is not."""
        items = self.lines("study/export/items.jsonl")
        key = {r["item"]: r for r in json.loads(self.read("study/export/key.json"))["items"]}
        self.assertEqual(len(items), len(key))
        self.assertTrue(all(i["simulated"] and i["item_id"] in key for i in items))
        for item in items:
            p, record = item["payload"], key[item["item_id"]]
            if item["task"] in ("detection", "rating"):
                on = [c["a"][c["f"]] for c in p["card"]["on"]]
                self.assertEqual((len(on), len(p["card"]["off"])), (10, 5))
                self.assertTrue(all(0 < level <= 10 for level in on) and on == sorted(on, reverse=True), on)
                self.assertTrue(all(c["a"][c["f"]] == 0 for c in p["card"]["off"]))
            if item["task"] == "detection":
                self.assertEqual((len(p["contexts"]), sum(record["right"])), (10, 5))
                shown = [json.dumps(c["t"]) for c in p["card"]["on"] + p["card"]["off"] + p["contexts"]]
                self.assertEqual(len(set(shown)), 25)  # unseen ones
            if item["task"] == "intruder":
                marks = [sum(level > 0 for level in c["a"]) for c in p["contexts"]]
                self.assertIn(marks[record["right"]], marks[:record["right"]] + marks[record["right"] + 1:])


if __name__ == "__main__":
    unittest.main()
