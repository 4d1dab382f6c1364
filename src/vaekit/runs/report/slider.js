"use strict";
(() => {
  const box = document.querySelector(".epochs");
  if (!box) return;
  const range = box.querySelector("input"), output = box.querySelector("output"), play = box.querySelector("button");
  const stacks = [...document.querySelectorAll(".print")].map((print) => [...print.querySelectorAll("img")]);
  const epochs = JSON.parse(box.dataset.epochs), last = epochs.length - 1;
  const words = (i) => (epochs[i] === 0 ? "before training" : `epoch ${epochs[i]} of ${epochs[last]}`);
  let timer = 0;

  function show() {
    const epoch = String(epochs[range.value]);
    for (const stack of stacks) {
      if (stack.some((img) => img.dataset.epoch === epoch))
        for (const img of stack) img.hidden = img.dataset.epoch !== epoch;
    }
    output.textContent = words(range.value);
    range.setAttribute("aria-valuetext", words(range.value));
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }
  function start() {
    if (Number(range.value) === last) range.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (Number(range.value) === last) stop();
    }, Math.max(120, Math.min(500, 6000 / epochs.length)));
  }
  range.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => (timer ? stop() : start()));
  range.value = last;
  box.hidden = false;
  show();
})();
