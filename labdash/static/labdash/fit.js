// The page "Will it fit?": what the slider says, and the beginning of a file, sent as far as it is wanted.
"use strict";
(() => {
  const FIRST_BYTES = 2 * 2 ** 20;
  // A half-written name of hardware is most often none.
  const TYPED_MS = 700;
  const form = document.getElementById("fit-form");
  const fileForm = document.getElementById("file-form");
  const file = document.getElementById("id_file");
  const said = document.getElementById("file-said");

  function words(tokens) {
    return tokens % 1024 ? tokens.toLocaleString("en") : `${tokens / 1024}k`;
  }

  form.addEventListener("input", (event) => {
    if (event.target.id === "id_context") {
      const text = words(Number(event.target.value));
      document.getElementById("context-said").textContent = text;
      event.target.setAttribute("aria-valuetext", `${text} tokens`);
    }
    // A name that is written takes the place of a file.
    if (event.target.name === "model" && form.elements.facts.value) {
      form.elements.facts.value = "";
      file.value = "";
      said.textContent = "";
    }
  });

  let typed;
  document.getElementById("id_card")?.addEventListener("input", (event) => {
    event.stopPropagation();
    clearTimeout(typed);
    typed = setTimeout(() => form.requestSubmit(), TYPED_MS);
  });
  // Who presses Ask is not asked for once more.
  form.addEventListener("submit", () => clearTimeout(typed));

  // The table that was asked for stands above the buttons that ask for it.
  let isTableAsked = false;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[name=at]");
    if (!button) return;
    isTableAsked = true;
    // htmx does not see which button outside of its form was pressed.
    document.getElementById("at").value = button.value;
  });
  document.body.addEventListener("htmx:afterSettle", () => {
    if (isTableAsked) document.getElementById("quants")?.scrollIntoView({ block: "start" });
    isTableAsked = false;
  });

  async function ask(chosen, size) {
    const data = new FormData();
    data.append("file_bytes", String(chosen.size));
    data.append("file", chosen.slice(0, size), chosen.name);
    const token = fileForm.querySelector("[name=csrfmiddlewaretoken]").value;
    const answer = await fetch(fileForm.action, {
      method: "POST", body: data, headers: { Accept: "application/json", "X-CSRFToken": token },
    });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  async function read(chosen) {
    let told = { wanted: Math.min(FIRST_BYTES, chosen.size) };
    while (told.wanted !== undefined) {
      said.textContent = `Reading the first ${Math.ceil(told.wanted / 2 ** 20)} MiB…`;
      told = await ask(chosen, told.wanted);
    }
    return told;
  }

  async function take() {
    const chosen = file.files[0];
    if (!chosen) return;
    const told = await read(chosen).catch(() => ({
      error: "The file could not be sent: the hub did not take it. Try it again.",
    }));
    said.classList.toggle("bad", Boolean(told.error));
    said.textContent = told.error || `Chosen: ${told.name}`;
    if (told.error) return;
    form.elements.facts.value = told.facts;
    form.elements.model.value = "";
    form.elements.quant.value = "";
    form.requestSubmit();
  }

  file.addEventListener("change", take);
  fileForm.addEventListener("submit", (event) => {
    event.preventDefault();
    take();
  });
})();
