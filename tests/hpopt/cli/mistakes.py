"""What newcomers type, the files that they have, and the line that they should get."""

OWN = """
import torch
from torch.nn.functional import cross_entropy
from hpopt_envs import Data, Task

class Own(Task):
    objective, maximize, default_model = "accuracy", True, "own:network"
    def load_data(self, model_source, sequence_length):
        x = torch.linspace(-1, 1, 300).view(-1, 1)
        return Data(*({"x": x[i::3], "y": (x[i::3, 0] > 0).long()} for i in range(3)))
    def loss_sum(self, model, batch):
        return cross_entropy(model(batch["x"]), batch["y"], reduction="sum")
    def predict(self, model, batch):
        return {"losses": cross_entropy(model(batch["x"]), batch["y"], reduction="none")}
    def metrics(self, outputs):
        return {"loss": outputs["losses"].mean().item(), "accuracy": 0.5}

class Unfinished(Task): ...
class Raising(Own):
    def __init__(self): raise RuntimeError("not today\\nnor tomorrow")
class NoData(Own):
    def load_data(self, model_source, sequence_length): raise OSError("the disk is gone")
class NoLoss(Own):
    def loss_sum(self, model, batch): return model(batch["nothing"])
class LongLoss(Own):
    def loss_sum(self, model, batch): return model(batch["x"])
class NoMetrics(Own):
    def metrics(self, outputs): return {"loss": None, "accuracy": 0.5}
class Untrainable(Own):
    def metrics(self, outputs): return {"loss": float("nan"), "accuracy": 0.5}
class Alone(Own):
    def logits(self, model, batch): return model(batch["x"]), batch["y"] >= 0
class Forgetful(Own):
    def load_data(self, model_source, sequence_length):
        data = super().load_data(model_source, sequence_length)
        return Data(data.train, data.validation, data.test, data.train, data.validation, data.test)

def network(): return torch.nn.Linear(1, 2)
def frozen(): return torch.nn.Linear(1, 2).requires_grad_(False)
def nothing(): return None
def raising(): raise RuntimeError("no weights")
"""
BATCH = "[parameters.batch_size]\ntype = 'integer'\npowers_of_two = true\nlow = 4\nhigh = 8\n"
BATCH += "default = 4\n"
RATE = "[parameters.learning_rate]\ntype = 'float'\nlow = {}\nhigh = 0.1\ndefault = 0.05\n"
FILES = {
    "own.py": OWN,
    "broken.py": "def f(:\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "file": "a file, not a folder",
    "labels.jsonl": '{"text": "a", "label": ["joy"]}\n' * 9,
    "two\nlines.jsonl": '{"text": "a", "label": ["joy"]}\n' * 9,
    "stars.csv": "text,label\n" + "a,2.5\nb,3.0\n" * 9,
    "half.jsonl": '{"text": "a", "label": 1}\n{"text": "\\ud83d", "label": 0}\n',
    "rows.dat": "text,label\na,1\n",
    "no_rate.toml": BATCH,
    "upside_down.toml": BATCH + RATE.format(0.2),
    "negative.toml": BATCH + RATE.format(-1.0),
    "misspelt.toml": BATCH
    + RATE.format(0.01)
    + RATE.format(0.0).replace("learning_rate", "droput"),
    "adamv.toml": BATCH
    + RATE.format(0.01)
    + "[parameters.optimizer]\ntype = 'choice'\nchoices = ['adamv', 'sgd']\ndefault = 'sgd'\n",
    "no_toml.toml": "trials = [",
    "trails.toml": "trails = 3",
    "text.toml": "trials = '3'",
    "single.toml": "constraint = 'a=1'",
    "time.toml": "time_limit = 'soon'",
    "table.toml": "[baseline]\nlearning_rate = 'much'",
}

# What is typed, and what the one line that answers has to say.
MISTAKES = [
    ("", "COMMAND"),
    ("serch", "invalid choice: 'serch'"),
    ("search --trails 5", "'--trails' (nearest: --trials"),
    ("search --trial 5", "nearest: --trials"),
    ("resume", "NAME"),
    ("resume name --seed 1", "unknown argument '--seed'"),
    # names
    ("search --task simulatd", "--task: must be 'simulated' or 'module:Class', but got 'simulatd'"),
    ("search --task ''", "--task: must be a text, but got ''"),
    ("SIMULATED --space defualt", "'defualt' (nearest: default"),
    ("SIMULATED --agent tpee", "--agent: there is no 'tpee' (nearest: tpe)"),
    ("SIMULATED --agent tpe+mediam", "pruner: there is no 'mediam' (nearest: median)"),
    ("SIMULATED --agent ppo+median", "pruner: must go with one of tpe"),
    ("SIMULATED --pruner median", "--pruner: must be said with the agent, such as tpe+median"),
    ("SIMULATED --agent range-test-cold", "--agent: range-test begins with what is known"),
    ("SIMULATED --agent default-cold", "--agent: default begins with what is known"),
    ("SIMULATED --prior none", "--prior: must be said with the agent"),
    ("SIMULATED --agent tpe@default", "--agent: must be AGENT[-cold][+PRUNER], but got"),
    ("SIMULATED --name a/b", "--name: must be up to 100 letters"),
    (f"SIMULATED --name {'x' * 300}", "--name: must be up to 100 letters"),
    ("OWN --objective acuracy", "--objective: must be one of the task's metrics, accuracy, loss"),
    ("OWN --objective loss:up", "--objective: must be METRIC, METRIC:min or METRIC:max"),
    ("SIMULATED --objective loss", "--objective: must be left out for the simulated task"),
    ("SIMULATED --model gpt2", "--model: must be left out for the simulated task"),
    ("SIMULATED --device tpu", "--device: must be one of auto, cpu"),
    # numbers
    ("SIMULATED --trials 0", "--trials: must be a whole number of at least 1, but got 0"),
    ("SIMULATED --trials 2.5", "--trials: must be a whole number, but got '2.5'"),
    ("SIMULATED --cost 0", "--cost: must be a number above 0, but got 0"),
    ("SIMULATED --cost nan", "--cost: must be a number above 0, but got nan"),
    ("SIMULATED --cost -5", "--cost: must be a number above 0, but got -5"),
    ("SIMULATED --cost 1000", "--cost: must be at least"),
    ("SIMULATED --time-limit 0", "--time-limit: must be a number above 0"),
    ("SIMULATED --time-limit soon", "--time-limit: must be a duration such as 90, 15m or 2h"),
    ("SIMULATED --target nan", "--target: must be a number, but got nan"),
    ("SIMULATED --seed -1", "--seed: must be a whole number of at least 0"),
    ("SIMULATED --workers 0", "--workers: must be a whole number of at least 1"),
    ("SIMULATED --confirm-seeds few", "--confirm-seeds: must be a whole number, but got 'few'"),
    ("SIMULATED --in-order yes", "--in-order: must be true or false, but got 'yes'"),
    ("OWN --forgetting-weight -1", "--forgetting-weight: must be a number of at least 0"),
    ("SIMULATED --max-divergence 0", "--max-divergence: must be a number above 0 or 'none', but"),
    ("SIMULATED --max-divergence nan", "must be a number above 0 or 'none', but got nan"),
    ("SIMULATED --max-divergence off", "--max-divergence: must be a number or 'none', but got 'o"),
    ("SIMULATED --max-new-tokens 0", "--max-new-tokens: must be a whole number of at least 1"),
    ("SIMULATED --samples-per-prompt 2.5", "--samples-per-prompt: must be a whole number, but"),
    ("SIMULATED --reward ''", "--reward: must be a text, but got ''"),
    ("SIMULATED --constraint a=1", "--constraint: must be left out for the simulated task"),
    ("OWN --max-divergence 1", "--max-divergence: needs a task with a reference"),
    ("resume name --max-divergence 1", "unknown argument '--max-divergence'"),
    ("SIMULATED --segment-tokens 1000", "--segment-tokens: must be a multiple of 4096"),
    ("SIMULATED --trial-tokens 5000", "--trial-tokens: must be a multiple of segment_tokens=4096"),
    ("search --sequence-length 1000", "--sequence-length: must be from 2 to 256"),
    ("SIMULATED --baseline learning_rte=1e-3", "'learning_rte' (nearest: learning_rate"),
    ("SIMULATED --baseline batch_size=33", "--baseline: batch_size must divide"),
    ("SIMULATED --baseline divergence_weight=-1", "but got -1"),
    ("SIMULATED --baseline lora_rank=4", "--baseline: must train what the trials train"),
    ("SIMULATED --baseline learning_rate=nan", "--baseline: learning_rate"),
    ("SIMULATED --baseline learning_rate", "--baseline: must be name=value"),
    ("SIMULATED --baseline batch_size=4,batch_size=8", "--baseline: must name each value once"),
    # spaces
    ("SIMULATED --space none.toml", "none.toml: No such file"),
    ("SIMULATED --space no_toml.toml", "must be TOML"),
    ("SIMULATED --space no_rate.toml", "space 'no_rate': must have learning_rate"),
    ("SIMULATED --space upside_down.toml", "low must be below high"),
    ("SIMULATED --space negative.toml", "every learning_rate must be a number above 0"),
    ("SIMULATED --space misspelt.toml", "no hyperparameter 'droput' (nearest: dropout)"),
    ("SIMULATED --space adamv.toml", "every optimizer must be among sgd, momentum,"),
    ("OWN --space default", "divergence_weight needs a task with a reference"),
    # tasks and models of one's own
    ("search --task none:Own", "No module named 'none'"),
    ("search --task broken:Own", "importing broken failed: SyntaxError"),
    ("search --task exits:Own", "importing exits failed: SystemExit: 3 (exits.py, line 2)"),
    ("search --task own:Absent", "has no Absent"),
    ("search --task own:network", "must be a subclass of hpopt_envs.Task"),
    ("search --task own:Unfinished", "abstract methods load_data"),
    ("search --task own:Raising", "RuntimeError: not today (own.py, line"),
    ("search --task own:NoData", "load_data() failed: OSError: the disk is gone (own.py, line"),
    ("search --task own:NoLoss", "training on a batch failed: KeyError: 'nothing' (own.py, line"),
    ("search --task own:LongLoss", "must be a finite scalar"),
    ("search --task own:NoMetrics", "evaluating the base model failed: TypeError"),
    ("search --task own:Untrainable", "the base model's loss must be above 0"),
    ("search --task own:Forgetful", "must be a hpopt_envs.tasks.Reference, with logits(), since"),
    ("search --task own:Alone", "must be a hpopt_envs.tasks.Reference, since it defines logits()"),
    ("OWN --model own:raising", "RuntimeError: no weights (own.py, line"),
    ("OWN --model own:nothing", "must return a torch.nn.Module, but returned None"),
    ("OWN --model own:frozen", "must have weights that can be trained"),
    ("OWN --model ./absent", "--model: must be 'embedded', a folder"),
    # data
    (
        "CLASSIFY --train-file labels.jsonl",
        "--label-column: labels.jsonl must have one class a row",
    ),
    ("CLASSIFY --train-file 'two\nlines.jsonl'", r"two\nlines.jsonl must have one class a row"),
    ("CLASSIFY --train-file labels.jsonl", "but row 1 has ['joy']; label_column=NAME names"),
    ("CLASSIFY --train-file stars.csv", "row 1 has 2.5, a number with a fraction; classes must be"),
    ("CLASSIFY --train-file half.jsonl", "half.jsonl, line 2: must have whole characters, but has"),
    ("CLASSIFY --train-file rows.dat", "--train-file: rows.dat: must end in one of .csv, "),
    ("CLASSIFY --dataset-config en", "--dataset-config: must come with dataset"),
    ("SIMULATED --dataset-config en", "--dataset-config: must be left out for the simulated task"),
    # places
    ("SIMULATED --runs file", "--runs: must be a folder that can be written to, but file isn't"),
    ("SIMULATED --runs file/below", "--runs: must be a folder that can be written to"),
    ("SIMULATED --tracking-uri http://127.0.0.1:9", "must answer within 20 s"),
    ("SIMULATED --tracking-uri sqlite:///file", "must be an SQLite file"),
    ("SIMULATED --tracking-uri mlruns", "must begin with one of"),
    ("resume absent", "resume: must be a study in runs/"),
    ("resume absent --runs file", "resume: must be a study in file/"),
    ("ui --runs nowhere", "there is no record yet"),
    ("ui --tracking-uri mlruns", "must begin with one of"),
    ("ui --port many", "invalid int value: 'many'"),
    # settings from a file
    ("search --config absent.toml", "--config: absent.toml can't be read: No such file"),
    ("search --config no_toml.toml", "must be TOML"),
    ("search --config trails.toml", "unknown setting 'trails' (nearest: trials"),
    ("search --config text.toml", "--trials: must be a whole number of at least 1, but got '3'"),
    ("search --config single.toml", "--constraint: must be a list of texts, SCORE=MEAN, but got"),
    ("search --config time.toml", "--time-limit: must be a duration"),
    ("SIMULATED --config table.toml", "--baseline: learning_rate: "),
]
SHORT = {
    "CLASSIFY": "search --task classify --trials 1 --confirm-seeds 0",
    "SIMULATED": "search --task simulated --trials 1 --confirm-seeds 0",
    "OWN": "search --task own:Own --trials 1 --confirm-seeds 0",
}
