"""Notebook 03's training for one process, or for many that torchrun starts: see notebook 12.

What only several processes need is marked NEW.
"""

import argparse
import math
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import mnist_helpers as mnist
from training import train_epoch

# As in notebook 03: numbers that are almost 0 slow Adam down. Set before PyTorch's threads start.
torch.set_flush_denormal(True)

# Training goes on only with the values that these options had when it began. The number of
# processes may change: it decides only which units dropout drops.
RECIPE = ("num_images", "batch_size", "dropout")

FOLDER = mnist.CHECKPOINT_DIR / "distributed"
MAX_WAIT = 7 * 24 * 3600  # seconds; PyTorch fails on very long waits


def main():
    args = parse_arguments()
    if from_torchrun("RANK") == 0:  # the one that saves
        check_folder(args.folder)
    device = choose_device()
    join(args, device)
    try:
        check_all_alike(args)
        train(args, device)
    finally:  # also after an interrupt, so that the script can be called again in this process
        dist.destroy_process_group()
    end()


def train(args: argparse.Namespace, device: torch.device) -> None:
    sampler, train_loader, val_share = load_data(args, device)
    model, optimizer, train_losses, val_losses = resume(args, device)
    loss_fn = nn.NLLLoss()
    # NEW: gives all processes the weights of process 0. From now on, backward() ends with the mean
    # of the gradients of all processes.
    shared_model = nn.parallel.DistributedDataParallel(model)

    first_epoch = len(val_losses) + 1
    for epoch in range(first_epoch, args.num_epochs + 1):
        sampler.set_epoch(epoch)  # NEW: another order, the same for all processes
        # NEW: another seed in each process and epoch, so that each drops other units.
        torch.manual_seed(epoch * dist.get_world_size() + dist.get_rank())
        losses = train_shared(shared_model, train_loader, optimizer)
        val_loss, val_accuracy = validate(model, val_share, loss_fn)
        train_losses += losses
        val_losses.append(val_loss)
        if not math.isfinite(val_loss):  # such weights would be no use to go on with
            sys.exit(f"epoch {epoch}: the validation loss is {val_loss}, so nothing was saved")
        if dist.get_rank() == 0:  # NEW: one process saves and reports
            save(args, model, optimizer, train_losses, val_losses)
            mean_loss = sum(losses) / len(losses)
            measured = f"training loss {mean_loss:.4f}, validation loss {val_loss:.4f}"
            print(f"epoch {epoch:2}: {measured}, accuracy {val_accuracy:.2%}", flush=True)


# The arguments ------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """Read the options, whose defaults are those of notebook 03."""
    parser = argparse.ArgumentParser(
        description="Train notebook 03's network.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--num-epochs", type=positive_int, default=10, help="in all, those of earlier runs included"
    )
    add("--num-images", type=positive_int, default=48_000, help="how many images to train with")
    add("--batch-size", type=positive_int, default=32, help="of all processes together")
    add("--dropout", type=dropout_rate, default=0.25, help="the share of units that is dropped")
    add("--folder", type=Path, default=FOLDER, help="where to save, and to go on from")
    add("--wait-seconds", type=wait_seconds, default=120, help="how long to wait for the others")
    args = parser.parse_args()
    world_size = from_torchrun("WORLD_SIZE")
    if world_size < 1:
        sys.exit(f"WORLD_SIZE is {world_size}: torchrun sets it to the number of processes")
    if args.batch_size % world_size != 0:  # NEW
        sys.exit(
            f"{world_size} processes can't share a batch of {args.batch_size}: see --batch-size"
        )
    if args.num_images < args.batch_size:
        sys.exit(f"{args.num_images} images make no batch of {args.batch_size}: see --num-images")
    return args


def positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def wait_seconds(text: str) -> int:
    number = positive_int(text)
    if number > MAX_WAIT:
        raise argparse.ArgumentTypeError(f"{text} is more than a week, {MAX_WAIT}")
    return number


def dropout_rate(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0 and below 1")
    return number


def check_folder(folder: Path) -> None:
    """Exit with a message unless files can be written there: now, and not after the first epoch."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        sys.exit(f"{folder} can't be used, see --folder: {error}")


# NEW: several processes ---------------------------------------------------------------------------


def from_torchrun(name: str) -> int:
    """Return what torchrun tells each process. Without it, the one process is number 0 of 1."""
    alone = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    return int(os.environ.get(name, alone[name]))


def choose_device() -> torch.device:
    """Give each process on this machine a GPU of its own, or none if there is no GPU.

    The environment variable ``MNIST_DEVICE`` may say ``cpu`` where there is one.
    """
    chosen = os.environ.get("MNIST_DEVICE") or "cuda"
    if chosen not in ("cpu", "cuda"):
        sys.exit(f"MNIST_DEVICE={chosen}: this script computes on cpu, or on cuda, a GPU for each")
    num_gpus = torch.cuda.device_count()
    if chosen == "cpu" or num_gpus == 0:
        return torch.device("cpu")
    if from_torchrun("LOCAL_WORLD_SIZE") > num_gpus:
        advice = "start fewer, or set CUDA_VISIBLE_DEVICES= to compute on CPUs"
        sys.exit(f"more processes than the {num_gpus} GPUs: {advice}")
    torch.cuda.set_device(from_torchrun("LOCAL_RANK"))
    return torch.device("cuda")


def join(args: argparse.Namespace, device: torch.device) -> None:
    """Bring the processes together; from here on they can send each other numbers."""
    rank = from_torchrun("RANK")
    world_size = from_torchrun("WORLD_SIZE")
    timeout = timedelta(seconds=args.wait_seconds)
    # What sends the numbers. PyTorch for Windows has no NCCL.
    backend = "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"
    try:
        if world_size > 1:
            dist.init_process_group(backend, timeout=timeout)  # torchrun has said where they are
        else:
            alone = dist.HashStore()  # nobody to find
            dist.init_process_group(backend, store=alone, rank=0, world_size=1)
    except (RuntimeError, ValueError) as error:
        advice = "TROUBLESHOOTING.md says more"
        sys.exit(f"process {rank} of {world_size} can't join the others: {error} ({advice})")


def check_all_alike(args: argparse.Namespace) -> None:
    """Exit with a message unless all processes were started with the same recipe and epochs."""
    own_recipe = {name: getattr(args, name) for name in (*RECIPE, "num_epochs")}
    recipes = [None] * dist.get_world_size()
    dist.all_gather_object(recipes, own_recipe)  # NEW
    for rank, recipe in enumerate(recipes):
        if recipe != recipes[0]:
            sys.exit(f"process {rank} was started with {recipe}, and process 0 with {recipes[0]}")


def end() -> None:
    """End one of several processes at once, without Python's clean-up."""
    if from_torchrun("WORLD_SIZE") > 1:
        sys.stdout.flush()  # os._exit doesn't
        os._exit(0)  # a normal exit would abort if one of gloo's threads still holds a tensor


# Data ---------------------------------------------------------------------------------------------


def load_data(
    args: argparse.Namespace, device: torch.device
) -> tuple[DistributedSampler, DataLoader, list[Tensor]]:
    """Return sampler and loader of this process's share of each batch, and its validation share."""
    train_loader, val_loader, _ = mnist.make_loaders(device=device)
    train_set = train_loader.dataset
    if args.num_images > len(train_set):
        sys.exit(f"there are only {len(train_set)} training images: see --num-images")
    rank = dist.get_rank()
    world_size = dist.get_world_size()
    # NEW: all processes shuffle the indices of the images alike, and then each takes its own share.
    sampler = DistributedSampler(range(args.num_images), drop_last=True)
    batches = BatchSampler(sampler, args.batch_size // world_size, drop_last=True)
    loader = DataLoader(train_set, sampler=batches, batch_size=None)  # each batch comes whole
    val_share = [tensor[rank::world_size] for tensor in val_loader.dataset.tensors]  # NEW
    return sampler, loader, val_share


# Training -----------------------------------------------------------------------------------------


def resume(
    args: argparse.Namespace, device: torch.device
) -> tuple[mnist.Network, torch.optim.Optimizer, list[float], list[float]]:
    """Return model, optimizer and losses: those of the checkpoint, if this folder has one."""
    torch.manual_seed(0)
    model = mnist.Network().to(device)
    model.dropout.p = args.dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    path = args.folder / "training.pth"
    done = None
    if dist.get_rank() == 0 and path.exists():
        done = mnist.load_checkpoint(model, path)
        check_recipe(args, done, path)
    to_share = [done]  # NEW: process 0 has read for all; the weights follow later, by DDP
    dist.broadcast_object_list(to_share)
    done = to_share[0]
    if done is None:
        return model, optimizer, [], []
    optimizer.load_state_dict(done["optimizer"])
    train_losses, val_losses = done["losses"]
    report_start(args, num_done=len(val_losses))
    return model, optimizer, train_losses, val_losses


def check_recipe(args: argparse.Namespace, done: dict | None, path: Path) -> None:
    """Exit with a message unless the checkpoint is this script's, with the same recipe."""
    if done is None or "recipe" not in done:
        sys.exit(f"{path} holds no training to go on with: take another --folder")
    for name in RECIPE:
        before = done["recipe"][name]
        now = getattr(args, name)
        if now != before:
            option = "--" + name.replace("_", "-")
            advice = "take that, or another --folder"
            sys.exit(f"{path} was made with {option} {before}, not {now}: {advice}")


def report_start(args: argparse.Namespace, num_done: int) -> None:
    folder = args.folder.resolve().name
    if num_done < args.num_epochs:
        start = f"goes on after epoch {num_done} in {folder}"
    else:
        start = f"has nothing to do: {folder} has its {num_done} epochs already"
    print(f"process {dist.get_rank()} {start}", flush=True)


def train_shared(
    shared_model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer
) -> list[float]:
    """Train on each batch once; return the loss of each step, over the images of all processes."""
    losses = []

    def noted_loss(log_probs: Tensor, labels: Tensor) -> Tensor:
        loss = nn.functional.nll_loss(log_probs, labels)  # the mean over this process's images
        losses.append(loss.detach())
        return loss

    # NEW: in there, DDP ends backward() with the mean of the gradients over the processes.
    train_epoch(shared_model, loader, noted_loss, optimizer)
    mean_losses = torch.stack(losses) / dist.get_world_size()
    dist.all_reduce(mean_losses)  # NEW: the sum of all processes' shares is their mean
    return mean_losses.tolist()


def validate(model: nn.Module, val_share: list[Tensor], loss_fn: nn.Module) -> tuple[float, float]:
    """Return the mean loss and the accuracy over the validation images of all processes."""
    one_batch = [val_share]  # a loader is anything that gives batches of images and labels
    loss, predicted, labels = mnist.evaluate(model, one_batch, loss_fn)  # dropout off
    correct = (predicted == labels).sum().item()
    sums = torch.tensor([loss * len(labels), correct, len(labels)], device=labels.device)
    dist.all_reduce(sums)  # NEW: adds up over the processes; only then the mean is taken
    loss_sum, num_correct, num_images = sums.tolist()
    return loss_sum / num_images, num_correct / num_images


def save(
    args: argparse.Namespace,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_losses: list[float],
    val_losses: list[float],
) -> None:
    """Save the best weights apart, and all that the next epoch depends on."""
    if val_losses[-1] == min(val_losses):
        mnist.save_checkpoint(model, args.folder / "best.pth")
    mnist.save_checkpoint(
        model,
        args.folder / "training.pth",
        optimizer=optimizer.state_dict(),
        losses=(train_losses, val_losses),
        recipe={name: getattr(args, name) for name in RECIPE},
    )


if __name__ == "__main__":
    main()
