/**
 * What AMCT's configuration allows for each type of layer, as data.
 *
 * Source: amct_pytorch's capacity_config.csv and configuration/check.py; types of the TensorFlow, ONNX and Caffe
 * editions from their documentation.
 */

/** Facts of a layer type. */
export interface LayerTypeFacts {
  /** Whether weights may have a scale per channel. */
  readonly channelWise: boolean
  /** Whether inputs and weights may be balanced (DMQ). */
  readonly balances: boolean
  /** Whether activations may have 16 bits. */
  readonly int16: boolean
  /** Whether AdaRound may choose the rounding. */
  readonly adaRound: boolean
  /** Whether weights may have 6 or 7 bits. */
  readonly fewBits: boolean
  /** Whether activations have to be symmetric. */
  readonly symmetricOnly: boolean
  /** Whether a batch normalisation behind it is folded into it. */
  readonly fuses: boolean
  /** Whether it can be retrained in integers. */
  readonly retrains: boolean
  /** Whether whole channels can be taken out of it. */
  readonly prunes: boolean
  /** Whether its weights can be made 2:4 sparse. */
  readonly sparsifies: boolean
}

const CONVOLUTION: LayerTypeFacts = {
  channelWise: true,
  balances: true,
  int16: true,
  adaRound: false,
  fewBits: false,
  symmetricOnly: false,
  fuses: true,
  retrains: true,
  prunes: false,
  sparsifies: false,
}
const RECURRENT: LayerTypeFacts = { ...CONVOLUTION, balances: false, fuses: false }

/** Layer types that AMCT quantizes, under the names of its PyTorch edition. */
export const LAYER_TYPES: Readonly<Record<string, LayerTypeFacts>> = {
  Conv1d: CONVOLUTION,
  Conv2d: { ...CONVOLUTION, adaRound: true, fewBits: true, prunes: true, sparsifies: true },
  Conv3d: { ...CONVOLUTION, int16: false, symmetricOnly: true },
  ConvTranspose1d: { ...CONVOLUTION, fuses: false },
  ConvTranspose2d: { ...CONVOLUTION, fuses: false, adaRound: true, sparsifies: true },
  Linear: { ...CONVOLUTION, channelWise: false, fuses: false, adaRound: true, prunes: true, sparsifies: true },
  AvgPool2d: { ...CONVOLUTION, channelWise: false, balances: false, int16: false, fuses: false, retrains: false },
  GRU: RECURRENT,
  LSTM: RECURRENT,
}

/** Names that other editions have for the same types; a depthwise convolution has a name of its own in TensorFlow. */
export const TYPE_ALIASES: Readonly<Record<string, readonly string[]>> = {
  Conv1d: ['Conv'],
  Conv2d: ['Conv', 'Convolution', 'Conv2D', 'nn.Conv2D'],
  'Conv2d/depthwise': ['Conv', 'Convolution', 'DepthwiseConv2dNative', 'nn.Conv2D'],
  Conv3d: ['Conv', 'Conv3D'],
  ConvTranspose1d: ['ConvTranspose'],
  ConvTranspose2d: ['ConvTranspose', 'Deconvolution', 'Conv2DBackpropInput'],
  'Linear/Gemm': ['Gemm', 'InnerProduct'],
  'Linear/MatMul': ['MatMul', 'InnerProduct', 'BatchMatMul', 'BatchMatMulV2'],
  AvgPool2d: ['AveragePool', 'AvgPool', 'Pooling'],
}

/** Every name that a configuration may give a type of layers. */
export const TYPE_NAMES: readonly string[] = [
  ...new Set([...Object.keys(LAYER_TYPES), ...Object.values(TYPE_ALIASES).flat()]),
].sort()
