// Pictures without a library: small PNG files, and what a file says of itself.

import { deflateSync } from "node:zlib";

/** A PNG of one colour, or of what `pixel` gives for each column: red, green, blue, alpha. */
export function png(width, height, pixel = () => [10, 60, 90, 255]) {
  const row = Buffer.concat([Buffer.of(0), ...Array.from({ length: width }, (_, x) => Buffer.from(pixel(x)))]);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 6, 0, 0, 0], 8);
  const data = deflateSync(Buffer.concat(Array.from({ length: height }, () => row)));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(type, data) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const body = Buffer.concat([Buffer.from(type), data]);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc(body));
  return Buffer.concat([length, body, sum]);
}

function crc(bytes) {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

/** A mask of OpenAI's: transparent, so to be painted anew, on its left. */
export const clearLeft = (width, height) => png(width, height, (x) => [0, 0, 0, x < width / 2 ? 0 : 255]);

/** png, jpeg or webp, by the first bytes. */
export function format(bytes) {
  const bytesOf = Buffer.from(bytes);
  if (bytesOf.subarray(1, 4).equals(Buffer.from("PNG"))) return "png";
  if (bytesOf.subarray(0, 3).equals(Buffer.of(0xff, 0xd8, 0xff))) return "jpeg";
  if (bytesOf.subarray(8, 12).equals(Buffer.from("WEBP"))) return "webp";
  return "something else";
}
