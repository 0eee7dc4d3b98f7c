// Fires "tick" on the body while the page is seen, and says so when the hub does not answer.
"use strict";
(() => {
  const ACTIVE_MS = 1000;
  const IDLE_MS = 5000;
  const IDLE_AFTER_MS = 120000;
  const RELOAD_AFTER_MS = 10000;
  const body = document.body;
  const banner = document.getElementById("offline");
  const age = document.getElementById("offline-age");
  let touched = Date.now();
  let answered = Date.now();
  let fired = 0;

  for (const name of ["pointerdown", "pointermove", "keydown", "scroll"]) {
    window.addEventListener(name, () => { touched = Date.now(); }, { passive: true });
  }
  document.addEventListener("visibilitychange", () => { touched = Date.now(); beat(); });

  function beat() {
    const now = Date.now();
    if (banner && !banner.hidden) age.textContent = spoken((now - answered) / 1000);
    if (document.visibilityState !== "visible") return;
    const wait = now - touched > IDLE_AFTER_MS ? IDLE_MS : ACTIVE_MS;
    if (now - fired < wait - 50) return;
    fired = now;
    body.dispatchEvent(new CustomEvent("tick"));
  }

  function spoken(seconds) {
    if (seconds < 60) return `${Math.round(seconds)} s`;
    return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
  }

  function offline(isOffline) {
    if (!banner) return;
    banner.hidden = !isOffline;
    body.toggleAttribute("data-offline", isOffline);
  }

  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    body.addEventListener(name, () => offline(true));
  }
  // What no page of ours expects: signed out elsewhere, the page's node gone, a proxy's own page.
  // Loaded anew, the page says which; at most every 10 s, lest it do nothing else.
  function unexpected() {
    offline(true);
    if (performance.now() > RELOAD_AFTER_MS) window.location.reload();
  }

  function isPoll(event) {
    return event.detail.elt.id === "poll";
  }

  body.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (isPoll(event) && xhr.status === 200 && !xhr.responseText.includes('id="poll"')) {
      event.detail.shouldSwap = false;
      unexpected();
    }
  });
  body.addEventListener("htmx:afterRequest", (event) => {
    const { xhr } = event.detail;
    if (!xhr || xhr.status === 0) return;
    if (xhr.status >= 500) { offline(true); return; }
    if (xhr.status >= 400 && xhr.status !== 422) { unexpected(); return; }
    if (isPoll(event) && xhr.status === 200 && !xhr.responseText.includes('id="poll"')) return;
    answered = Date.now();
    offline(false);
  });
  // What somebody opened stays open when its part of the page is replaced.
  body.addEventListener("htmx:oobBeforeSwap", (event) => {
    for (const open of event.detail.target.querySelectorAll("details[open][id]")) {
      const fresh = event.detail.fragment.querySelector(`#${CSS.escape(open.id)}`);
      if (fresh) fresh.open = true;
    }
  });
  window.setInterval(beat, ACTIVE_MS);
  // A request that a newer one takes the place of was ended on purpose: no error for the console.
  // htmx aborts within this event, and tells its logger before it prints.
  let aborting = false;
  document.addEventListener("htmx:abort", () => {
    aborting = true;
    window.queueMicrotask(() => { aborting = false; });
  }, true);
  window.htmx.logger = (_element, _name, detail) => { if (aborting) delete detail.error; };
})();
