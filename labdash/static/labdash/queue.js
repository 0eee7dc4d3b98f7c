// The page of pulls: what waits is dragged to another place of its queue. The buttons do the same.
"use strict";
(() => {
  let dragged = null;
  let mark = null;

  function waiting(list) {
    return [...list.querySelectorAll(":scope > [data-job]")];
  }

  // Before which job the pointer is, null below the last.
  function below(y) {
    const others = waiting(dragged.parentElement).filter((job) => job !== dragged);
    return others.find((job) => {
      const box = job.getBoundingClientRect();
      return y < box.top + box.height / 2;
    }) ?? null;
  }

  function place(before) {
    const others = waiting(dragged.parentElement).filter((job) => job !== dragged);
    return before ? others.indexOf(before) : others.length;
  }

  function show(before) {
    mark?.classList.remove("drop-before", "drop-after");
    const jobs = waiting(dragged.parentElement);
    mark = before ?? jobs[jobs.length - 1];
    mark.classList.add(before ? "drop-before" : "drop-after");
  }

  function end() {
    mark?.classList.remove("drop-before", "drop-after");
    dragged?.classList.remove("is-dragged");
    dragged = mark = null;
  }

  document.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".grip");
    if (!grip || event.button !== 0) return;
    event.preventDefault();
    dragged = grip.closest("[data-job]");
    dragged.classList.add("is-dragged");
    grip.setPointerCapture(event.pointerId);
  });
  document.addEventListener("pointermove", (event) => {
    if (dragged) show(below(event.clientY));
  });
  document.addEventListener("pointerup", (event) => {
    if (!dragged) return;
    const to = place(below(event.clientY));
    const { move, place: from } = dragged.dataset;
    end();
    if (to === Number(from)) return;
    const token = document.querySelector("#act [name=csrfmiddlewaretoken]").value;
    window.htmx.ajax("POST", `${move}?to=${to}`, {
      source: document.getElementById("act"), swap: "none", values: { csrfmiddlewaretoken: token },
    });
  });
  document.addEventListener("pointercancel", end);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });
  // Nothing is replaced under the hand: the page asks again when it is let go.
  for (const name of ["htmx:beforeRequest", "htmx:beforeSwap"]) {
    document.body.addEventListener(name, (event) => {
      if (dragged && event.detail.elt.id === "poll") {
        event.preventDefault();
        event.detail.shouldSwap = false;
      }
    });
  }
})();
