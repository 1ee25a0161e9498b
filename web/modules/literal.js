// An input as it is written in a program. The server does the same for the page's first sight
// (crates/server/src/pages/literal.rs). Whole numbers beyond 2^53 are BigInts here and numbers in the text.

const STEPS = { js: 2, curl: 2, python: 4, rust: 4, json: 2 };

/** JSON on one line. */
export function toJson(value) {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(toJson).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}:${toJson(inner)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

/** A value as a language writes it; the lines after the first begin with `indent` spaces. */
export function literal(language, value, indent) {
  const text = nested(language, value, indent);
  return language === "curl" ? `'${text.replaceAll("'", "'\\''")}'` : text;
}

function nested(language, value, indent) {
  const inner = indent + STEPS[language];
  const block = (open, lines, close) => {
    if (!lines.length) return open + close;
    const comma = language === "js" || language === "python" ? "," : "";
    const begin = `\n${" ".repeat(inner)}`;
    return `${open}${begin}${lines.join(`,${begin}`)}${comma}\n${" ".repeat(indent)}${close}`;
  };
  if (Array.isArray(value)) return block("[", value.map((item) => nested(language, item, inner)), "]");
  if (value && typeof value === "object") {
    const name = (key) => (language === "js" && /^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key));
    const line = ([key, item]) => `${name(key)}: ${nested(language, item, inner)}`;
    return block("{", Object.entries(value).map(line), "}");
  }
  if (language === "python" && typeof value === "boolean") return value ? "True" : "False";
  return toJson(value);
}
