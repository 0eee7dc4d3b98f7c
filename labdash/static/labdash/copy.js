// Copies what a button names. Over plain HTTP browsers have no clipboard: the text is selected then.
"use strict";
(() => {
  const SAID_FOR_MS = 2000;

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(element) {
    select(element);
    if (window.isSecureContext && navigator.clipboard) {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    }
    return document.execCommand("copy");
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const label = button.textContent;
    const isDone = await copy(document.getElementById(button.dataset.copy)).catch(() => false);
    button.textContent = isDone ? "Copied" : "Selected: press Ctrl-C";
    setTimeout(() => { button.textContent = label; }, SAID_FOR_MS);
  });
})();
