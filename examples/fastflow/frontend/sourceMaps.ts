/**
 * Marks each file of a build with an id by which PostHog finds its source map, and keeps the maps from visitors.
 *
 * The maps go to a folder beside the build, each with its file, for `posthog-cli sourcemap upload --directory …`.
 */

import { cp, mkdir, rename } from "node:fs/promises";
import { basename, join } from "node:path";

import { createChunkIdComment, createChunkIdSnippet, createStableChunkId } from "@posthog/plugin-utils";
import MagicString from "magic-string";
import type { Plugin } from "vite";

export function sourceMaps(folder: string): Plugin {
  const ids = new Map<string, string>();
  return {
    name: "source-maps",
    apply: "build",
    config: () => ({ build: { sourcemap: "hidden" } }), // no file names its map

    renderChunk: {
      order: "post",
      handler(code, chunk) {
        const id = createStableChunkId(code); // equal code keeps its id
        ids.set(chunk.fileName, id);
        const marked = new MagicString(code).prepend(`${createChunkIdSnippet(id)}\n`);
        return { code: marked.toString(), map: marked.generateMap({ hires: "boundary" }) };
      },
    },

    // Minifying removes comments, and the command line reads the id from one.
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        const id = file.type === "chunk" ? ids.get(file.preliminaryFileName) : undefined;
        if (file.type === "chunk" && id) file.code += `${createChunkIdComment(id)}\n`;
      }
    },

    async writeBundle({ dir = "dist" }, bundle) {
      await mkdir(folder, { recursive: true });
      for (const { fileName } of Object.values(bundle).filter(({ fileName }) => fileName.endsWith(".js.map"))) {
        const code = fileName.replace(/\.map$/, "");
        await rename(join(dir, fileName), join(folder, basename(fileName)));
        await cp(join(dir, code), join(folder, basename(code)));
      }
    },
  };
}
