// Logging in: a session is a cookie that scripts cannot read, so nothing is kept here.

import { at, read, send, wayBack } from "./api.js";
import { byId, el } from "./dom.js";
import { brand, logOut, refuse, sentence } from "./site.js";

byId("brand").replaceChildren(brand());

async function start() {
  try {
    const who = await read("api/me", { mayLogIn: false });
    byId("notice").hidden = true;
    show(who);
  } catch (fault) {
    if (fault.status === 401) show({ signed_in: false, way: "none" });
    else refuse(fault, start);
  }
}

function show(who) {
  if (who.way === "none") {
    byId("login").hidden = byId("help").hidden = false;
    byId("provider").hidden = !who.oidc;
    byId("name").focus();
    return;
  }
  document.querySelector("h1").textContent = who.signed_in ? `Logged in as ${who.name}` : "No login is needed";
  byId("there").hidden = false;
  byId("there").replaceChildren(...[
    !who.signed_in && el("p", {}, "On this machine clipwatch is open as long as there is no user. The first one is made on the page ", el("a", { href: at("users") }, "Users"), "."),
    el("a", { class: "main", href: wayBack() }, "Go on"),
    who.signed_in && el("button", { type: "button", class: "quiet", onclick: logOut }, "Log out"),
  ].filter(Boolean));
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("submit").disabled = true;
  byId("told").textContent = "";
  try {
    await send("POST", "api/login", { name: byId("name").value.trim(), password: byId("password").value }, { mayLogIn: false });
    location.replace(wayBack());
  } catch (fault) {
    byId("told").dataset.kind = "bad";
    byId("told").textContent = fault.lines?.length ? fault.lines.map((line) => `${sentence(line.found)} ${sentence(line.do)}`).join(" ") : sentence(fault.message);
    byId("submit").disabled = false;
    byId("password").select();
  }
});

start();
