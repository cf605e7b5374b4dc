export {
  chooseForTarget,
  type MeasuredIntegers,
  type TargetChoice,
  type TargetRequest,
  targetOf,
} from './choose.ts'
export {
  type SlowFlavour,
  TARGET_NAMES,
  TARGETS,
  type TargetName,
  type TargetProfile,
} from './profiles.ts'
