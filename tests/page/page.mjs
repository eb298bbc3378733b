// Looks at the status page with a real browser, and does on it what people do. Driven by tests/lab/page.sh: each line on
// standard input is a step (a word and its arguments, parted by blanks), and is answered on standard output by a line for
// each thing that was seen ("ok TEXT", "note TEXT"), and then by "done" or "FAIL TEXT".
//
//   node page.mjs MODULES SHOTS    MODULES: where playwright-core and axe-core are; SHOTS: where screenshots go

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const [modules, shots] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

const LOCAL = "http://127.0.0.1:9463";
const EXPOSED = "http://10.99.0.2:9463";
const TOKEN = process.env.PAGE_TOKEN;
// As long as the farm may take to notice something, and a machine that has much else to do.
const PATIENCE = 45_000;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
// The rest keeps Chromium from calling home.
const ARGUMENTS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
  "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-default-apps",
];

const launch = (...more) =>
  chromium.launch({ executablePath: "/usr/bin/chromium", args: [...ARGUMENTS, ...more], timeout: PATIENCE });

let browser;
let farm;           // the page that stays open all the time
let expectsErrors = false;
const strangers = new Set();
const complaints = [];

// A context whose pages may ask nobody but the front door, and have nothing to complain about.
async function open(options = {}, origins = [LOCAL, EXPOSED]) {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", ...options });
  context.setDefaultTimeout(PATIENCE);
  context.on("request", (request) => {
    if (!origins.includes(new URL(request.url()).origin)) strangers.add(request.url());
  });
  context.on("console", (message) => {
    if (!expectsErrors && ["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  context.on("weberror", (error) => complaints.push(error.error().message));
  return context;
}

function say(kind, text) { process.stdout.write(`${kind} ${text}\n`); }
function ok(text) { say("ok", text); }
function check(is, text) { if (!is) throw new Error(text); ok(text); }

const gateway = (page, name) => page.locator(`article[data-key="${name}"]`);
const state = async (name) =>
  (await (await fetch(`${LOCAL}/api/v1/status`)).json()).gateways.find((gateway) => gateway.name === name);
const isDrained = async (name) => (await state(name)).drain !== null;

async function unloaded(page) {
  return page.evaluate(() => window.notLoadedAgain === true);
}

async function shoot(page, name) {
  await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true, animations: "disabled" });
}

// Nothing wrong for those who hear it, or use no mouse, or see no colours.
async function flawless(page, text) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  check(told.length === 0, `${text}: axe-core finds nothing ${told.join("; ")}`.trim());
}

async function fits(page, text) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(over <= 0, `${text}: nothing is beyond the edge${over > 0 ? `, but ${over} px` : ""}`);
}

async function type(page, { reason, name, token }) {
  if (reason) await page.fill("#reason", reason);
  if (name) await page.fill("#name", name);
  if (token) await page.fill("#token", token);
}

const steps = {
  async begin() {
    browser = await launch();
    farm = await (await open()).newPage();
    await farm.goto(`${LOCAL}/`);
    await farm.evaluate(() => { window.notLoadedAgain = true; });
    await farm.locator("#live", { hasText: /^Live$/ }).waitFor();
    check((await gateway(farm, "gw1").count()) === 1, "the farm is on the page, and it is live");
  },

  // What somebody does on the page stays while it goes on.
  async stays() {
    await gateway(farm, "gw1").locator("summary").click();
    await gateway(farm, "gw3").locator("h3 a").focus();
    const shown = await farm.locator(".asof").textContent();
    for (let i = 0; i < 2; i++) {
      const now = await farm.locator(".asof").textContent();
      await farm.waitForFunction((old) => document.querySelector(".asof").textContent !== old, now);
    }
    check((await farm.locator(".asof").textContent()) !== shown, "it goes on by itself");
    check(await gateway(farm, "gw1").locator("details").evaluate((details) => details.open), "what is unfolded stays so");
    const focused = await farm.evaluate(() => document.activeElement.getAttribute("href"));
    check(focused === "/gateways/gw3", "what has the focus keeps it");
    await gateway(farm, "gw1").locator("summary").click();
  },

  async dies(name) {
    await farm.locator(`article.trouble[data-key="${name}"]`).waitFor();
    check(await unloaded(farm), `${name} is seen to die, without loading the page again`);
    const banner = await farm.locator(".banner").textContent();
    check(banner.includes(name) && !banner.includes("All is well"), "the sentence on top names it");
    check((await farm.locator("article").first().getAttribute("data-key")) === name, "it stands first");
    await farm.waitForFunction((name) => document.getElementById("spoken").textContent.includes(`${name} is down`), name);
    ok("and it is spoken");
  },

  async returns(name) {
    await farm.locator(`article.calm[data-key="${name}"]`).waitFor();
    check(await unloaded(farm), `${name} is seen to come back, without loading the page again`);
    await farm.locator(".banner", { hasText: "All is well" }).waitFor();
    ok("all is well");
  },

  // As people do who have a mouse.
  async drains(name) {
    const page = await (await open()).newPage();
    await page.goto(`${LOCAL}/`);
    await page.getByRole("link", { name: `Drain ${name}` }).click();
    const told = await page.locator(".consequences").textContent();
    check(/tunnels? stay/.test(told) && told.includes("gw2") && told.includes("room for"), "it is said what will happen");
    expectsErrors = true;
    await type(page, { token: "not the token" });
    await page.getByRole("button", { name: `Drain ${name}` }).click();
    await page.getByRole("heading", { name: "Refused" }).waitFor();
    expectsErrors = false;
    check(!(await isDrained(name)), "a wrong token changes nothing");
    await shoot(page, "refused");
    await page.getByRole("link", { name: "Try again" }).click();
    await type(page, { reason: "new <b>kernel</b>", name: "alice", token: TOKEN });
    await page.getByRole("button", { name: `Drain ${name}` }).click();
    await page.waitForURL(`${LOCAL}/gateways/${name}`);
    await page.locator(".note", { hasText: "new <b>kernel</b>" }).waitFor();
    check(await isDrained(name), "the token does, and the reason is shown as it was written");
    await farm.locator(`article.notice[data-key="${name}"]`, { hasText: "Drained by administrator alice at 127.0.0.1" }).waitFor();
    check(await unloaded(farm), "who looks on sees it, and who it was");
    await page.context().close();
  },

  async resumes(name) {
    const page = await (await open()).newPage();
    await page.goto(`${LOCAL}/gateways/${name}`);
    await page.getByRole("link", { name: `Resume ${name}` }).click();
    await type(page, { name: "bob", token: TOKEN });
    await page.getByRole("button", { name: `Resume ${name}` }).click();
    await page.waitForURL(`${LOCAL}/gateways/${name}`);
    check(!(await isDrained(name)), `${name} is resumed`);
    await farm.locator(`article.calm[data-key="${name}"]`).waitFor();
    ok("who looks on sees it");
    await page.context().close();
  },

  // Tab and Enter, and nothing else.
  async keyboard(name) {
    const page = await (await open()).newPage();
    const reach = async (wanted) => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press("Tab");
        const here = await page.evaluate(() => {
          const it = document.activeElement;
          return it.getAttribute("aria-label") || it.id || it.textContent.trim();
        });
        if (here === wanted) return;
      }
      throw new Error(`Tab never reaches '${wanted}'`);
    };
    await page.goto(`${LOCAL}/`);
    await page.keyboard.press("Tab");
    check((await page.evaluate(() => document.activeElement.textContent)) === "Skip to the content", "the first Tab offers to skip");
    for (const verb of ["Drain", "Resume"]) {
      await page.goto(`${LOCAL}/`);
      await reach(`${verb} ${name}`);
      await page.keyboard.press("Enter");
      await page.waitForURL(/\/(drain|resume)$/);
      await reach("token");
      await page.keyboard.type(TOKEN);
      await reach(`${verb} ${name}`);
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      check(outline !== "none", "where the focus is can be seen");
      await page.keyboard.press("Enter");
      await page.waitForURL(`${LOCAL}/gateways/${name}`);
      check((await isDrained(name)) === (verb === "Drain"), `the keyboard alone does: ${verb}`);
    }
    await page.context().close();
  },

  async scriptless(name) {
    const page = await (await open({ javaScriptEnabled: false })).newPage();
    const answer = await page.goto(`${LOCAL}/`);
    check((await answer.text()).includes('<noscript><meta http-equiv="refresh"'), "without JavaScript it asks for itself again");
    for (const verb of ["Drain", "Resume"]) {
      await page.goto(`${LOCAL}/`);
      await page.getByRole("link", { name: `${verb} ${name}` }).click();
      await type(page, { token: TOKEN });
      await page.getByRole("button", { name: `${verb} ${name}` }).click();
      await page.waitForURL(`${LOCAL}/gateways/${name}`);
      check((await isDrained(name)) === (verb === "Drain"), `without JavaScript: ${verb}`);
    }
    await page.context().close();
  },

  // Every page in both colour schemes, wide and narrow.
  async looks(label, ...paths) {
    for (const colorScheme of ["light", "dark"]) {
      for (const [width, viewport] of [["wide", WIDE], ["narrow", NARROW]]) {
        const page = await (await open({ colorScheme, viewport })).newPage();
        for (const path of paths) {
          expectsErrors = path.includes("nothing");
          await page.goto(LOCAL + path);
          const name = `${label}${path.replace(/\W+/g, "-").replace(/-$/, "")}`;
          await shoot(page, `${name}-${colorScheme}-${width}`);
          const text = `${label} ${path}, ${colorScheme}, ${width}`;
          await fits(page, text);
          // what is narrow is arranged otherwise, and has the same colours
          if (width === "wide" || colorScheme === "light") await flawless(page, text);
          expectsErrors = false;
        }
        await page.context().close();
      }
    }
  },

  // As many look on already as may: the page is told nothing, and asks by itself.
  async crowded() {
    expectsErrors = true;
    const page = await (await open()).newPage();
    await page.route("**/api/v1/events", (route) => route.fulfill({ status: 503, body: "" }));
    await page.goto(`${LOCAL}/`);
    const first = await page.locator(".asof time").getAttribute("datetime");
    await page.waitForFunction((first) => document.querySelector(".asof time").dateTime !== first, first);
    await page.locator("#live", { hasText: /^Live$/ }).waitFor();
    ok("a page that hears nothing goes on by asking");
    await page.context().close();
    expectsErrors = false;
  },

  // Somebody sets the clock of the machine where the page is looked at.
  async reset() {
    const page = await (await open()).newPage();
    await page.goto(`${LOCAL}/`);
    await page.locator("#live", { hasText: /^Live$/ }).waitFor();
    await page.evaluate(() => { const right = Date.now; Date.now = () => right() - 3600000; });
    // the first may have been under way
    for (let i = 0; i < 2; i++) {
      const shown = await page.locator(".asof time").getAttribute("datetime");
      await page.waitForFunction((shown) => document.querySelector(".asof time").dateTime !== shown, shown);
    }
    ok("a clock that is set an hour back does not stop the page");
    await page.context().close();
  },

  async away() {
    expectsErrors = true;
    await farm.locator("#live", { hasText: "Not live since" }).waitFor();
    ok("the page says that it is not live");
    await shoot(farm, "away");
  },

  async back() {
    await farm.locator("#live", { hasText: /^Live$/ }).waitFor();
    check(await unloaded(farm), "it is live again, without loading the page again");
    expectsErrors = false;
  },

  // A page of somebody else, in the browser of one who knows the token.
  async foreign(name) {
    const page = `<form id=f method=post action="${EXPOSED}/gateways/${name}/drain"><input name=reason value=evil></form>
      <script>f.submit()</script>`;
    const evil = createServer((_, response) => response.setHeader("content-type", "text/html").end(page));
    await new Promise((listening) => evil.listen(8000, "127.0.0.1", listening));
    const origins = [LOCAL, EXPOSED, "http://127.0.0.1:8000"];
    expectsErrors = true;
    for (const httpCredentials of [undefined, { username: "carol", password: TOKEN }]) {
      const knows = httpCredentials ? "with the token remembered" : "without the token";
      const context = await open({ httpCredentials }, origins);
      const tab = await context.newPage();
      // a browser that is asked for a token that it has not shows nothing
      const first = await tab.goto(`${EXPOSED}/`).then((answer) => answer.status(), () => 401);
      check(first === (httpCredentials ? 200 : 401), `${knows} the page is ${httpCredentials ? "" : "not "}shown`);
      if (httpCredentials) {
        // the browser does remember: its own form needs no token
        for (const verb of ["drain", "resume"]) {
          await tab.goto(`${EXPOSED}/gateways/${name}/${verb}`);
          check((await tab.locator("#token").count()) === 0, "nobody is asked for a token that the browser has");
          await tab.locator("button[type=submit]").click();
          await tab.waitForURL(`${EXPOSED}/gateways/${name}`);
        }
        check((await tab.locator(".note").count()) === 0, "its own forms drain and resume");
      }
      const answered = tab.waitForResponse((response) => response.request().method() === "POST");
      await tab.goto("http://127.0.0.1:8000/", { waitUntil: "commit" }).catch(() => {});
      const answer = await answered;
      check([401, 403].includes(answer.status()), `${knows} a form of a foreign page is refused (${answer.status()})`);
      await context.close();
    }
    await new Promise((closed) => { evil.close(closed); evil.closeAllConnections(); });
    // and one that is sent to where everybody may look
    const context = await open({}, origins);
    const tab = await context.newPage();
    await tab.setContent(`<form id=f method=post action="${LOCAL}/gateways/${name}/drain"><input name=token value="${TOKEN}"></form>`);
    const answered = tab.waitForResponse((response) => response.request().method() === "POST");
    await tab.evaluate(() => document.getElementById("f").submit());
    check((await answered).status() === 403, "not even the token helps a form that comes from elsewhere");
    await context.close();
    expectsErrors = false;
    check(!(await isDrained(name)), "nothing has changed");
  },

  // A name that somebody else has made to lead here.
  async rebinding(name) {
    const other = await launch("--host-resolver-rules=MAP evil.test 127.0.0.1");
    const tab = await other.newPage();
    const answer = await tab.goto("http://evil.test:9463/");
    check(answer.status() === 421, "a foreign name that leads here is refused");
    check(!(await answer.text()).includes(name), "and is told nothing of the farm");
    const status = await tab.evaluate(async ([name, token]) => {
      const body = new URLSearchParams({ token, reason: "evil" });
      return (await fetch(`/gateways/${name}/drain`, { method: "POST", body })).status;
    }, [name, TOKEN]);
    check(status === 421, "and changes nothing, with the token or without");
    await other.close();
    check(!(await isDrained(name)), "nothing has changed");
  },

  async end() {
    check(strangers.size === 0, `nobody else was asked for anything ${[...strangers].join(" ")}`.trim());
    check(complaints.length === 0, `the browser has nothing to complain about ${complaints.join("; ")}`.trim());
    await browser.close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [step, ...words] = line.split(" ");
  try {
    await steps[step](...words);
    process.stdout.write("done\n");
  } catch (error) {
    if (farm) await shoot(farm, "failed").catch(() => {});
    say("FAIL", `${step}: ${String(error.message ?? error).replaceAll("\n", " ").slice(0, 2000)}`);
    break;
  }
}
process.exit(0);
