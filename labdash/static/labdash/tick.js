// Fires "tick" on the body while the page is seen, and says so when the hub does not answer.
"use strict";
(() => {
  const ACTIVE_MS = 1000;
  const IDLE_MS = 5000;
  const IDLE_AFTER_MS = 120000;
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
  body.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr ? event.detail.xhr.status : 0;
    if (status === 0) return;
    if (status >= 500) { offline(true); return; }
    answered = Date.now();
    offline(false);
  });
  window.setInterval(beat, ACTIVE_MS);
})();
