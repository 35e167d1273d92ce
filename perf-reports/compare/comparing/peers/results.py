"""results.json: what was measured, run by run, gathered over calls of `compare --peers`."""

import json
import statistics

from .peer import ORDER

FORMAT = 1
# What has to be the same for runs to stand in one report.
SAME = ("format", "kind", "scale", "host")


class Mixed(RuntimeError):
    """The folder's report is of another machine, format or scale."""


class Results:
    def __init__(self, facts):
        self.facts = {"format": FORMAT, "kind": "peers", **facts}
        self.variants, self.out, self.runs, self.cannot = {}, {}, [], []

    @classmethod
    def gathered(cls, folder, facts):
        """With what earlier calls left in the folder."""
        results, path = cls(facts), folder / "results.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            other = [name for name in SAME if before.get(name) != results.facts[name]]
            if other:
                raise Mixed(f"{path} has other runs ({', '.join(other)} differ); choose another folder with --out")
            # A report is of the day on which it was begun.
            results.facts["date"] = before["date"]
            results.take(before)
        return results

    @classmethod
    def read(cls, folder):
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        if content.get("kind") != "peers" or content.get("format") != FORMAT:
            raise Mixed(f"{folder}/results.json is not of `compare --peers`, format {FORMAT}")
        results = cls({})
        results.facts = {name: value for name, value in content.items() if name not in ("variants", "out", "runs", "cannot")}
        results.take(content)
        return results

    def take(self, content):
        self.variants, self.out = content["variants"], content["out"]
        self.runs, self.cannot = content["runs"], content["cannot"]

    def add(self, peer, turn, pair, commit):
        places = {peer.place.work: "WORK", getattr(peer, "loadgen", None): "loadgen", peer.binary: peer.name}

        def clean(text):
            for place, name in places.items():
                text = text.replace(str(place), name) if place else text
            return text

        commands = [" ".join(map(clean, command)) for command in peer.commands]
        self.variants[peer.variant] = {"version": peer.version(), "settings": peer.settings, "commands": commands}
        common = {"variant": peer.variant, "pair": pair, "commit": commit}
        for sample in turn.samples:
            if "command" in sample:
                sample = {**sample, "command": clean(sample["command"])}
            self.runs.append({**common, **sample})
        self.cannot += [{**common, **one, "sentence": clean(one["sentence"])} for one in turn.cannot]

    def order(self):
        """Corelane first; the durable settings of each after the recommended ones."""
        known = {name: index for index, name in enumerate(ORDER)}
        return sorted(self.variants, key=lambda variant: (known.get(variant.removesuffix("-durable"), len(known)), variant))

    def values(self, row, variant, figure):
        return [run[figure] for run in self.runs if (run["row"], run["variant"]) == (row, variant) and run.get(figure) is not None]

    def median(self, row, variant, figure):
        values = self.values(row, variant, figure)
        return statistics.median(values) if values else None

    def ratios(self, row, variant, figure):
        """Of Corelane's figure to the variant's, pair by pair."""
        ours = {run["pair"]: run.get(figure) for run in self.runs if (run["row"], run["variant"]) == (row, "corelane")}
        theirs = [run for run in self.runs if (run["row"], run["variant"]) == (row, variant)]
        pairs = ((ours.get(run["pair"]), run.get(figure)) for run in theirs)
        return [mine / other for mine, other in pairs if mine is not None and other]

    def sentences(self, row):
        """Who cannot do a row, each sentence once."""
        found = {}
        for one in self.cannot:
            if one["row"] == row:
                found.setdefault((one["variant"], one["sentence"]), 0)
                found[one["variant"], one["sentence"]] += 1
        return found

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = {**self.facts, "variants": self.variants, "out": self.out, "runs": self.runs, "cannot": self.cannot}
        (folder / "results.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
