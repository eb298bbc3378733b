// Keeps the page as the front door is: at each sign from it (server-sent events) the same address is asked for again, and
// what is different is put into the page that is there. What somebody is doing on it stays: focus, what is unfolded or
// selected or typed. Without this script the page asks for itself again every few seconds.
"use strict";

(() => {
  // A front door that says nothing for so long is away; it says something every second.
  const PATIENCE_MS = 6000;
  // From one question to the next, at least; and longer where a large farm takes long, so that most of the time is rest.
  const PAUSE_MS = 900;
  const LONGEST_PAUSE_MS = 4000;
  // From one attempt to reach it again to the next.
  const RETRY_MS = 2000;

  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const spoken = document.getElementById("spoken");
  if (!main || !live || !window.EventSource) return;

  // The clock of this machine may be set; how long something takes has nothing to do with it.
  const now = () => performance.now();

  let source = null;
  let heard = now();
  let fresh = now();
  let freshAt = new Date();
  let asking = false;
  let wanted = false;
  let lastAsked = -PAUSE_MS;
  let pause = PAUSE_MS;
  let shown = now();
  let retry = 0;
  let announced = [];

  // ---- what is heard --------------------------------------------------------------------------

  function listen() {
    if (source || document.hidden) return;
    source = new EventSource("/api/v1/events");
    source.onopen = () => { heard = now(); refresh(); };
    source.addEventListener("tick", () => { heard = now(); refresh(); });
    source.addEventListener("change", (message) => {
      heard = now();
      refresh();
      try { speak(JSON.parse(message.data).text); } catch { /* no event of ours */ }
    });
    // a browser comes back by itself after a break, but not after an answer that says no
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) again();
    };
  }

  // Where nothing can be heard (as many look on as may), the page asks by itself, and goes on.
  function again() {
    silence();
    clearTimeout(retry);
    retry = setTimeout(() => { listen(); refresh(); }, RETRY_MS);
  }

  function silence() {
    if (source) source.close();
    source = null;
  }

  // Changes alone are spoken; several at a time together.
  function speak(text) {
    if (!text) return;
    announced.push(text);
    if (announced.length > 1) return;
    setTimeout(() => {
      spoken.textContent = announced.slice(-5).join(". ") + ".";
      announced = [];
    }, 300);
  }

  // ---- what is asked --------------------------------------------------------------------------

  function refresh() {
    wanted = true;
    if (asking || document.hidden) return;
    asking = true;
    setTimeout(ask, Math.max(0, lastAsked + pause - now()));
  }

  async function ask() {
    wanted = false;
    lastAsked = now();
    try {
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), PATIENCE_MS);
      const request = { headers: { Accept: "text/html" }, cache: "no-store", signal: abort.signal };
      const answer = await fetch(location.href, request);
      const text = await answer.text();
      clearTimeout(timer);
      const next = new DOMParser().parseFromString(text, "text/html");
      const content = next.getElementById("main");
      // one that is gone, or that needs the token again, is shown as such by loading it
      if (!answer.ok && answer.status < 500) { location.reload(); return; }
      if (answer.ok && content) {
        put(content);
        if (document.title !== next.title) document.title = next.title;
        fresh = now();
        freshAt = new Date();
      }
    } catch { /* it is away; the state says so */ }
    pause = Math.min(Math.max(PAUSE_MS, 5 * (now() - lastAsked)), LONGEST_PAUSE_MS);
    asking = false;
    state();
    if (wanted) refresh();
  }

  function state() {
    if (document.hidden) return;
    // a page that is looked at again has a moment to ask
    const away = now() - Math.max(fresh, shown) > PATIENCE_MS;
    const text = away ? `Not live since ${clock(freshAt)}` : "Live";
    live.hidden = false;
    live.classList.toggle("away", away);
    if (live.textContent !== text) {
      live.textContent = text;
      if (away) speak(text);
    }
    document.documentElement.classList.toggle("away", away);
    // whoever is behind a proxy that holds a dead connection open is not told of its end
    if (away && source && now() - heard > 2 * PATIENCE_MS) { heard = now() - PATIENCE_MS; again(); }
  }

  const clock = (time) => time.toISOString().slice(11, 19) + " UTC";

  // ---- what is put into the page --------------------------------------------------------------

  function put(content) {
    const focused = document.activeElement;
    morph(main, content);
    // what was moved has lost it
    if (focused && focused !== document.activeElement && main.contains(focused)) focused.focus({ preventScroll: true });
  }

  function morph(old, next) {
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      // the reader unfolds, not the page
      if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    let place = old.firstChild;
    for (const child of [...next.childNodes]) {
      const match = find(place, child);
      if (!match) {
        old.insertBefore(document.importNode(child, true), place);
        continue;
      }
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      update(match, child);
    }
    while (place) {
      const after = place.nextSibling;
      place.remove();
      place = after;
    }
  }

  function update(old, next) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== next.data && !isSelected(old)) old.data = next.data;
    } else if (!old.hasAttribute("data-still") && !old.isEqualNode(next)) {
      morph(old, next);
    }
  }

  // The same thing is what has the same key, or else the next one of its kind that has none.
  function find(from, child) {
    for (let node = from; node; node = node.nextSibling) {
      if (node.nodeName !== child.nodeName) continue;
      if (keyOf(node) === keyOf(child)) return node;
    }
    return null;
  }

  const keyOf = (node) => (node.getAttribute ? node.getAttribute("data-key") : null);

  function isSelected(node) {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(node, true);
  }

  // ---- begin ----------------------------------------------------------------------------------

  function wake() {
    if (document.hidden) { silence(); return; }
    shown = now();
    listen();
    refresh();
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("pagehide", silence);
  window.addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  setInterval(state, 1000);
  listen();
})();
