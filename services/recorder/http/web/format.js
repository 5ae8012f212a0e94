// Times, shares and weather in words. Times are the reader's own; UTC stands in the tooltip.

import { el } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const DAY_YEAR = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const COUNT = new Intl.NumberFormat();
const COLOURS = 8;
const colours = new Map();

export const count = (number) => COUNT.format(number);
export const percent = (share) => `${Math.round(share * 100)}%`;
export const clock = (iso) => CLOCK.format(new Date(iso));
export const utc = (iso) => new Date(iso).toISOString().replace("T", " ").replace("Z", " UTC");

export function time(iso, withDay = false) {
  const text = withDay ? `${day(iso)}, ${clock(iso)}` : clock(iso);
  return el("time", { datetime: iso, title: utc(iso) }, text);
}

export function dayKey(iso) {
  const at = new Date(iso);
  return `${at.getFullYear()}-${at.getMonth()}-${at.getDate()}`;
}

export function day(iso) {
  const at = new Date(iso);
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((midnight(new Date()) - midnight(at)) / 86400000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return (at.getFullYear() === new Date().getFullYear() ? DAY : DAY_YEAR).format(at);
}

export function duration(seconds) {
  if (seconds < 59.5) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (number >= 1000 && at < units.length - 1) {
    number /= 1000;
    at += 1;
  }
  return `${at ? number.toFixed(number < 10 ? 1 : 0) : number} ${units[at]}`;
}

// A label keeps its colour for as long as the page is open.
export function colour(label) {
  if (!colours.has(label)) colours.set(label, colours.size % COLOURS);
  return `c${colours.get(label)}`;
}

export const temperature = (weather) =>
  weather.temperature_c === null ? "" : `${Math.round(weather.temperature_c)} °C`;

export function weatherFacts(weather) {
  const wind = (degrees) => ["N", "NE", "E", "SE", "S", "SW", "W", "NW"][Math.round(degrees / 45) % 8];
  const facts = [
    ["Temperature", weather.temperature_c, (v) => `${v.toFixed(1)} °C`],
    ["Humidity", weather.humidity_percent, (v) => `${Math.round(v)} %`],
    ["Precipitation", weather.precipitation_mm, (v) => `${v.toFixed(1)} mm`],
    ["Wind", weather.wind_speed_ms, (v) => `${v.toFixed(1)} m/s${weather.wind_direction_deg === null ? "" : ` from ${wind(weather.wind_direction_deg)}`}`],
    ["Clouds", weather.cloud_percent, (v) => `${Math.round(v)} %`],
    ["Pressure", weather.pressure_hpa, (v) => `${Math.round(v)} hPa`],
    ["Visibility", weather.visibility_m, (v) => `${(v / 1000).toFixed(1)} km`],
  ];
  return facts.filter(([, value]) => value !== null).map(([name, value, say]) => [name, say(value)]);
}

// A number with its noun: "1 event", "2 events".
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
