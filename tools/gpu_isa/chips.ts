/**
 * Chips: which driver compiles for each, and what makes it print what it made.
 *
 * @module
 */

import { adreno, amd, apple, type Figures, nvidia } from "./figures.ts";

/** A GPU that shaders are compiled for. */
export interface Chip {
  readonly name: string;
  /** Mesa's driver, and the library that plays the kernel's. */
  readonly driver: string;
  readonly shim: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Reads what the driver printed of a shader. */
  readonly read: (printed: string) => Figures;
  /** Whether that has a listing in which loops are found. */
  readonly lists?: boolean;
}

const nvidiaChip = (name: string, chipset: string): Chip => ({
  ...{ name, driver: "nouveau", shim: "nouveau", read: nvidia, lists: true },
  environment: {
    ...{ NOUVEAU_CHIPSET: chipset, NAK_DEBUG: "print" },
    NVK_I_WANT_A_BROKEN_VULKAN_DRIVER: "1",
  },
});

/** Every chip, of five vendors' architectures. */
export const chips: readonly Chip[] = [
  {
    ...{ name: "AMD navi31", driver: "radeon", shim: "amdgpu", read: amd },
    environment: { AMDGPU_GPU_ID: "navi31", RADV_DEBUG: "shaderstats,nocache" },
  },
  nvidiaChip("NVIDIA AD104", "0x194"),
  nvidiaChip("NVIDIA GH100", "0x180"),
  {
    ...{ name: "Apple M1", driver: "asahi", shim: "asahi", read: apple },
    environment: { AGX_MESA_DEBUG: "shaderdb" },
  },
  {
    ...{ name: "Adreno 740", driver: "freedreno", shim: "freedreno", read: adreno },
    environment: { FD_GPU_ID: "740", IR3_SHADER_DEBUG: "cs,shaderdb" },
  },
];
