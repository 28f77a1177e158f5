"""What to write instead of an unknown key or a task without its kind."""

from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.errors import nearest

PAIR_FILES = (".jsonl", ".json", ".parquet")
"""Ends of the names of pair files, compression aside."""
ALL_GPUS = "the pairs of all GPUs together"
IN_STEPS = "in steps"
OF_OTHER_TRAINERS = {
    "learning_rate": ("optim.lr", ""),
    "adam_lr": ("optim.lr", ""),
    "optimizer": ("optim.lr", "the peak learning rate; the optimizer is AdamW"),
    "lr_scheduler_type": ("optim.schedule", ""),
    "scheduler": ("optim.schedule", ""),
    "warmup": ("optim.warmup_steps", IN_STEPS),
    "warmup_ratio": ("optim.warmup_steps", IN_STEPS),
    "num_warmup_steps": ("optim.warmup_steps", ""),
    "max_norm": ("optim.max_grad_norm", ""),
    "clip_grad_norm": ("optim.max_grad_norm", ""),
    "gradient_clipping": ("optim.max_grad_norm", ""),
    "batch_size": ("batching.size", ALL_GPUS),
    "train_batch_size": ("batching.size", ALL_GPUS),
    "global_batch_size": ("batching.size", ALL_GPUS),
    "per_device_train_batch_size": ("batching.size", ALL_GPUS),
    "per_gpu_train_batch_size": ("batching.size", ALL_GPUS),
    "train_n_passages": ("batching.hard_negatives", "the negatives of a query without its passage"),
    "train_group_size": ("batching.hard_negatives", "the negatives of a query without its passage"),
    "num_hard_negatives": ("batching.hard_negatives", ""),
    "mini_batch_size": ("train.chunk_size", "the pairs of one GPU that are encoded at once"),
    "gradient_accumulation_steps": ("train.chunk_size", "the pairs encoded at once, not the steps"),
    "max_steps": ("train.steps", ""),
    "num_steps": ("train.steps", ""),
    "num_train_steps": ("train.steps", ""),
    "total_steps": ("train.steps", ""),
    "epochs": ("train.steps", IN_STEPS),
    "num_epochs": ("train.steps", IN_STEPS),
    "num_train_epochs": ("train.steps", IN_STEPS),
    "bf16": ("train.precision", "such as bf16"),
    "fp16": ("train.precision", "such as fp16"),
    "mixed_precision": ("train.precision", ""),
    "torch_compile": ("train.compile", ""),
    "output_dir": ("run.dir", "the folder of run.name"),
    "out": ("run.dir", "the folder of run.name"),
    "run_name": ("run.name", ""),
    "random_seed": ("seed", ""),
    "model": ("model.name_or_path", ""),
    "model_name": ("model.name_or_path", ""),
    "model_name_or_path": ("model.name_or_path", ""),
    "max_seq_length": ("model.max_passage_tokens", "and model.max_query_tokens"),
    "max_length": ("model.max_passage_tokens", "and model.max_query_tokens"),
    "query_max_len": ("model.max_query_tokens", ""),
    "passage_max_len": ("model.max_passage_tokens", ""),
    "pooling_method": ("model.pooling", ""),
    "data": ("data.train", ""),
    "train_data": ("data.train", ""),
    "train_file": ("data.train", ""),
    "train_files": ("data.train", ""),
    "task": ("eval.tasks", ""),
    "eval_steps": ("eval.every", ""),
    "logging_steps": ("log.every", ""),
    "save_steps": ("checkpoint.every", ""),
    "save_total_limit": ("checkpoint.keep", ""),
    "resume_from_checkpoint": ("checkpoint.resume", ""),
    "wandb_project": ("log.project", ""),
}
"""The last part of keys of other trainers -> the key here that has their place, and a remark."""


def hint(given: str, dashes: str = "") -> str:
    """A clause that says what an unknown key is called here; empty if nothing is like it.

    `dashes`: what stands before a key that is given as a flag.
    """
    keys = list(flatten(Config()))
    last = given.rpartition(".")[2]
    same = [key for key in keys if key.rpartition(".")[2] == last]
    if same:
        return f"; did you mean '{dashes}{same[0]}'?"
    if last in OF_OTHER_TRAINERS:
        key, remark = OF_OTHER_TRAINERS[last]
        return f"; here it is {dashes}{key}" + (f", {remark}" if remark else "")
    if "." not in given and not dashes:
        keys += sorted({key.partition(".")[0] for key in keys if "." in key})
    return nearest(given, keys).replace("'", f"'{dashes}", 1)


def hint_for_task(spec: str) -> str:
    """A clause for a task that lacks its kind, such as the path of a pair file."""
    name = spec.partition("?")[0].removesuffix(".gz").removesuffix(".zst")
    return f"; did you mean 'pairs:{spec}'?" if name.endswith(PAIR_FILES) else ""
