"""Notebook 03's loop for one process, or for many that torchrun starts: notebook 08 explains it."""

import argparse
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, os.path.abspath(f"{__file__}/../.."))
import mnist_helpers as mnist

options = {"num-epochs": 10, "num-images": 48_000, "batch-size": 32, "dropout": 0.25}
options |= {"folder": mnist.ROOT / "checkpoints" / "distributed", "wait-seconds": 120}
parser = argparse.ArgumentParser()
for name, default in options.items():
    parser.add_argument(f"--{name}", type=type(default), default=default)
args = parser.parse_args()
# NEW: torchrun tells each process its number, the rank, and how many there are. Alone it is 0 of 1.
env = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1} | os.environ
rank, world_size, num_gpus = int(env["RANK"]), int(env["WORLD_SIZE"]), torch.cuda.device_count()
share, rest = divmod(args.batch_size, world_size)  # NEW: the batch is that of all together
if rest:
    sys.exit(f"{world_size} processes can't share a batch of {args.batch_size}: see --batch-size")
if 0 < num_gpus < int(env["LOCAL_WORLD_SIZE"]):
    sys.exit(f"more processes than the {num_gpus} GPUs: start fewer, or set CUDA_VISIBLE_DEVICES=")
torch.cuda.set_device(int(env["LOCAL_RANK"]) if num_gpus else -1)  # NEW: its own GPU; -1 is none
device = torch.device("cuda" if num_gpus else "cpu")
store, wait = None if world_size > 1 else dist.HashStore(), timedelta(seconds=args.wait_seconds)
try:  # NEW: bring the processes together
    dist.init_process_group(store=store, rank=rank, world_size=world_size, timeout=wait)
except (RuntimeError, ValueError) as error:
    sys.exit(f"process {rank} of {world_size} can't join the others: {error}")
train_set, val_set = (loader.dataset for loader in mnist.make_loaders(device=device)[:2])
sampler = DistributedSampler(range(len(train_set))[: args.num_images], drop_last=True)  # NEW
train_loader = DataLoader(train_set, share, sampler=sampler, collate_fn=tuple, drop_last=True)
num_val, val_share = len(val_set), [tensor[rank::world_size] for tensor in val_set.tensors]  # NEW
torch.manual_seed(0)
model = mnist.Network().to(device)
model.dropout.p = args.dropout
optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
loss_fn, train_losses, val_losses = torch.nn.NLLLoss(), [], []
checkpoint = args.folder / "training.pth"
done = [mnist.load_checkpoint(model, checkpoint) if rank == 0 and checkpoint.exists() else None]
dist.broadcast_object_list(done)  # NEW: process 0 has read for all what was done before
if done[0]:
    optimizer.load_state_dict(done[0]["optimizer"])
    train_losses, val_losses = done[0]["losses"]
    print(f"process {rank} goes on after epoch {len(val_losses)} in {args.folder.name}", flush=True)
# NEW: copies the weights of process 0 to all; from now on, backward() averages the gradients.
model = torch.nn.parallel.DistributedDataParallel(model)

for epoch in range(len(val_losses) + 1, args.num_epochs + 1):
    sampler.set_epoch(epoch)  # NEW: another order in each epoch, the same for all processes
    torch.manual_seed(epoch * world_size + rank)  # NEW: each process drops other units
    model.train()  # dropout on
    losses = []
    for images, labels in train_loader:
        loss = loss_fn(model(images), labels)  # forward: the mean over this process's images
        optimizer.zero_grad()  # gradients add up unless cleared
        loss.backward()  # NEW: ends with the mean of the gradients over the processes
        optimizer.step()
        losses.append(loss.detach() / world_size)  # NEW: added up over the processes below
    val_loss, predicted, labels = mnist.evaluate(model.module, [val_share], loss_fn)  # dropout off
    sums = [*losses, val_loss * len(labels) / num_val, (predicted == labels).sum() / num_val]
    dist.all_reduce(sums := torch.tensor(sums, device=device))  # NEW: over all processes
    *losses, val_loss, val_accuracy = sums.tolist()
    train_losses, val_losses = train_losses + losses, [*val_losses, val_loss]
    if rank == 0:  # NEW: one process saves and prints
        if val_loss == min(val_losses):  # False if it is nan
            mnist.save_checkpoint(model.module, args.folder / "best.pth")
        more = {"optimizer": optimizer.state_dict(), "losses": (train_losses, val_losses)}
        mnist.save_checkpoint(model.module, checkpoint, **more)
        losses = f"training loss {sum(losses) / len(losses):.4f}, validation loss {val_loss:.4f}"
        print(f"epoch {epoch:2}: {losses}, accuracy {val_accuracy:.2%}", flush=True)
dist.destroy_process_group()
if world_size > 1:  # NEW: a normal exit would abort if a thread of gloo's still holds a tensor
    os._exit(0)
